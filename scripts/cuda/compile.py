#!/usr/bin/env python3
"""Compiles the CUDA kernels of crates/trainer/src/backend/cuda/kernels to PTX, with NVRTC alone.

    pip install nvidia-cuda-nvrtc-cu12==12.1.105
    python3 scripts/cuda/compile.py            writes kernels.ptx.gz
    python3 scripts/cuda/compile.py --check    says whether it is what the sources give

No GPU, driver or toolkit is needed. The PTX is for compute capability 8.0 and newer. The version of
NVRTC is part of the result: its PTX needs a driver of CUDA 12.1 or newer. `LORASWEEP_NVRTC` names
libnvrtc.so.12 where Python does not find the wheel. Exit status of --check: 0 the same, 1 another,
3 there is no NVRTC of that version.
"""

import ctypes
import glob
import gzip
import hashlib
import os
import site
import sys
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[2] / "crates/trainer/src/backend/cuda/kernels"
OUTPUT = KERNELS / "kernels.ptx.gz"
ARCHITECTURE = "compute_80"
VERSION = (12, 1)


def library():
    """NVRTC of the right version, or None."""
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    names = [f"{folder}/nvidia/cuda_nvrtc/lib/libnvrtc.so.12" for folder in folders]
    for name in [os.environ.get("LORASWEEP_NVRTC"), *names]:
        if not name or not os.path.exists(name):
            continue
        builtins = glob.glob(os.path.join(os.path.dirname(name), "libnvrtc-builtins.so.*"))
        for builtin in builtins:
            ctypes.CDLL(builtin, mode=ctypes.RTLD_GLOBAL)
        nvrtc = ctypes.CDLL(name)
        major, minor = ctypes.c_int(), ctypes.c_int()
        nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        if (major.value, minor.value) == VERSION:
            return nvrtc
    return None


def sources():
    """A digest of all sources, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(KERNELS.glob("*.cu*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def compile_ptx(nvrtc):
    program = ctypes.c_void_p()
    source = (KERNELS / "all.cu").read_bytes()
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"all.cu", 0, None, None), "create")
    options = [f"--gpu-architecture={ARCHITECTURE}", f"--include-path={KERNELS}", "--std=c++17"]
    array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    status = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if len(log.value) > 1:
        print(log.value.decode(), file=sys.stderr)
    check(status, "compile")
    nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    check(nvrtc.nvrtcGetPTX(program, ptx), "PTX")
    return f"// sources: {sources()}\n".encode() + ptx.value


def check(status, what):
    if status != 0:
        sys.exit(f"NVRTC: {what} failed with status {status}")


def main():
    nvrtc = library()
    if nvrtc is None:
        print("NVRTC %d.%d is not installed: pip install nvidia-cuda-nvrtc-cu12==12.1.105" % VERSION)
        sys.exit(3)
    ptx = compile_ptx(nvrtc)
    if sys.argv[1:] == ["--check"]:
        same = gzip.decompress(OUTPUT.read_bytes()) == ptx
        print("kernels.ptx.gz is", "what the sources give" if same else "not what the sources give")
        sys.exit(0 if same else 1)
    OUTPUT.write_bytes(gzip.compress(ptx, 9, mtime=0))
    print(f"{OUTPUT.name}: {len(ptx)} bytes, {OUTPUT.stat().st_size} compressed")


if __name__ == "__main__":
    main()
