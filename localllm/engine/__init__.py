"""llama.cpp in a child process, behind ``core.generation.Engine``.

The parent's side: ``client`` (the Engine), ``process`` (one child's life), ``death`` (why it
ended), ``info`` (what llama.cpp is installed) and ``protocol`` (the wire). The child's side
starts at ``worker``; only there is ``llama_cpp`` imported, and only by ``llama``.
"""
