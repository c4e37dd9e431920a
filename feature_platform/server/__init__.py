"""Our own feature server: Feast's HTTP contract for online reads, with proof of what was served.

A request becomes a plan (``plans``), the plan reads Redis (``redis_link``), the replies become the bytes of an answer (``answers``); what
the plan cannot express is answered by Feast itself in a process of its own (``feast_process``). Loading the online store does not belong
here, nor anything else that writes to it. Importing this package imports neither Feast nor Arrow.
"""
