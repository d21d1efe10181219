"""Processes, threads over the batch, MPI and NCCL ranks, prefetching."""
