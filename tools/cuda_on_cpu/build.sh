#!/usr/bin/env bash
# build.sh [FOLDER]: CuPy from its source distribution, built against libfakecuda. Prints the file that a shell has to
# source. Two to three minutes the first time, then nothing; needs python3 and g++. Without FOLDER: a folder of the
# user's cache named after what CuPy is built from. PYTHON=python3.12 takes another Python, JOBS=1 one compiler at a time.
set -euo pipefail
parts=$(cd "$(dirname "$0")" && pwd)
version=14.2.0
python=$("${PYTHON:-python3}" -c 'import sys; print(sys.base_prefix, *sys.version_info[:2])')
key=$(cat "$parts"/headers/*.h "$parts/patch_cupy.py" "$parts/build.sh" <(echo "$python") | sha256sum | cut -c1-12)
here=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/cuda-on-cpu/$version-$key}")
mkdir -p "$here/lib" "$here/cache/cupy"
exec 9> "$here/lock"
flock 9  # another build of the same folder

hash_of() { cat "$@" | sha256sum | cut -c1-12; }
is_built() { [ "$(cat "$here/$1.built" 2> /dev/null)" = "$2" ]; }

# 1. Python with what the build and CuPy itself need; of NVIDIA's only headers, NVRTC and the assembler
[ -d "$here/v" ] || "${PYTHON:-python3}" -m venv "$here/v"
if ! is_built python "$key"; then
    "$here/v/bin/python" -m pip install -q --disable-pip-version-check 'setuptools>=77' wheel 'Cython>=3.2,<3.3,!=3.2.6' \
        'numpy>=2.1' 'cuda-pathfinder>=1.3.4,==1.*' ml_dtypes \
        'nvidia-cuda-nvrtc-cu12==12.9.*' 'nvidia-cuda-runtime-cu12==12.9.*' 'nvidia-cuda-nvcc-cu12==12.9.*' >&2
    echo "$key" > "$here/python.built"
fi
packages=$("$here/v/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
headers="-isystem $packages/nvidia/cuda_runtime/include -isystem $packages/nvidia/cuda_nvcc/include"

# 2. The fake: libcuda.so.1, the runtime, cuBLAS and NCCL in one. CuPy looks for the latter two where wheels put them
library=$(hash_of "$parts"/library/* "$parts"/headers/*.h)
if ! is_built library "$library"; then
    g++ -std=c++17 -O2 -ftree-vectorize -march=native -fPIC -shared -w $headers "$parts/library/libfakecuda.cpp" \
        -o "$here/lib/new.so" -Wl,-soname,libcuda.so.1 -ldl
    mv "$here/lib/new.so" "$here/lib/libfakecuda.so"
    ln -sf libfakecuda.so "$here/lib/libcuda.so.1"
    echo "$library" > "$here/library.built"
fi
for name in cublas/lib/libcublas.so.12 cublas/lib/libcublasLt.so.12 nccl/lib/libnccl.so.2; do
    mkdir -p "$(dirname "$packages/nvidia/$name")"
    ln -sf "$here/lib/libfakecuda.so" "$packages/nvidia/$name"
done

# 3. CuPy, in place: as for CUDA 12.9, with NVIDIA's own headers, linked to the fake
if ! is_built cupy "$key"; then
    rm -rf "$here"/cupy-*
    CUPY_INSTALL_USE_STUB=1 "$here/v/bin/python" -m pip download -q --disable-pip-version-check --no-deps --no-binary cupy \
        "cupy==$version" -d "$here" >&2
    tar xzf "$here/cupy-$version.tar.gz" -C "$here"
    cd "$here/cupy-$version"
    "$here/v/bin/python" "$parts/patch_cupy.py" "$parts/headers"
    export CUPY_INSTALL_USE_STUB=1 CUPY_NUM_BUILD_JOBS=${JOBS:-2} CFLAGS="-O1 -g0 -w $headers"
    export CXXFLAGS=$CFLAGS LDFLAGS="-L$here/lib -Wl,--no-as-needed -lfakecuda -Wl,-rpath,$here/lib"
    "$here/v/bin/python" setup.py -q build_ext --inplace > "$here/build.log" 2>&1 || { tail -20 "$here/build.log" >&2; exit 1; }
    echo "$PWD" > "$packages/cupy_fake.pth"
    echo "$key" > "$here/cupy.built"
fi

# 4. What a shell needs. Kernels that another translator made are kept apart
kernels=$here/cache/kernels-$(hash_of "$parts"/translate.py "$parts"/ptx/*.py "$parts"/runtime/*)
mkdir -p "$kernels"
cat > "$here/env.sh.new" <<END
export PATH=$here/v/bin:\$PATH CUPY_COMPILE_WITH_PTX=1 CUPY_CACHE_DIR=$here/cache/cupy
export FAKE_CUDA_TRANSLATOR=$parts/translate.py FAKE_CUDA_PYTHON=$here/v/bin/python FAKE_CUDA_CACHE=$kernels
END
name=env-$(hash_of "$here/env.sh.new").sh  # of one checkout each
mv "$here/env.sh.new" "$here/$name"
echo "$here/$name"
