"""PTX, NVIDIA's assembly language, to C++ that runs its kernels on a CPU."""
