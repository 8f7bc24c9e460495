"""llama.cpp's compute graph in miniature, to count what its intermediate results take.

A compute buffer is the peak of a graph's live tensors under ggml's own allocator, so it is found as
llama.cpp finds it: the graph of one prompt batch is built block by block (``attention``, ``ffn``,
``latent``, ``recurrent``, ``families``), divided over devices (``scheduler``) and laid out in
memory (``allocator``). Only shapes exist here, no data. Blocks that repeat are built a few times
only (``repeats``): the layout repeats with them.

Read from ``ggml/src/ggml.c``, ``ggml-alloc.c``, ``ggml-backend.cpp`` and ``src/llama-graph.cpp``
in the tree of llama-cpp-python 0.3.36.
"""
