#!/bin/sh
# Builds the CUDA device of software into a folder: libcuda.so and libcublas.so. Says so and ends with 3
# where there is no C++ compiler; does nothing where the folder has what the sources give.
#
#   sh build.sh DIR
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kernels=$here/../../src/backend/cuda/kernels
to=$1
compiler=${CXX:-g++}
if ! "$compiler" --version >/dev/null 2>&1; then
    echo "not run: there is no C++ compiler $compiler, which makes the device of software" >&2
    exit 3
fi
mkdir -p "$to"
sources=$(cat "$here"/* "$kernels"/*.cu "$kernels"/*.cuh | cksum)
if [ "$(cat "$to/sources" 2>/dev/null)" = "$sources" ]; then
    exit 0
fi
"$compiler" -std=c++17 -O2 -fPIC -shared -DFAKE_CUDA -Wl,-soname,libcuda.so \
    -I"$here" -I"$kernels" -x c++ "$kernels/all.cu" "$here/device.cpp" -o "$to/libcuda.so"
# cuBLAS's functions are in the same library, which this one leads to.
"$compiler" -shared -Wl,-soname,libcublas.so -Wl,--no-as-needed '-Wl,-rpath,$ORIGIN' \
    -o "$to/libcublas.so" "$to/libcuda.so"
echo "$sources" >"$to/sources"
