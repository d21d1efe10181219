"""NumPy or CuPy: dispatch, BLAS, memory, random numbers. Nothing is imported here: blas_settings comes before NumPy."""
