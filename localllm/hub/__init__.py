"""Names, files and the Hub -> core.model: what a name means, which file that is, and its header.

``resolve.py`` is the door for what is here. Beside it: ``names`` (text -> meaning), ``known``
(recorded shapes), ``gguf`` and ``spec`` (a header and what it says), ``headers`` (of files on a
server), ``client``, ``offers`` and ``download`` (the Hub), ``kept`` (what is on this machine).
"""
