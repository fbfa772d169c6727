#!/usr/bin/env python3
"""Registers, spills and shared memory of the committed kernels, as ptxas gives them.

    pip install nvidia-cuda-nvcc-cu12==12.1.105
    python3 scripts/cuda/figures.py > results/bench/cuda_kernels.txt

No GPU or driver is needed. `LORASWEEP_PTXAS` names ptxas where Python does not find the wheel.
"""

import gzip
import os
import re
import site
import subprocess
import sys
import tempfile
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[2] / "crates/trainer/src/backend/cuda/kernels"
ARCHITECTURES = ("sm_80", "sm_89", "sm_90")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


def ptxas():
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    names = [f"{folder}/nvidia/cuda_nvcc/bin/ptxas" for folder in folders]
    for name in [os.environ.get("LORASWEEP_PTXAS"), *names]:
        if name and os.path.exists(name):
            return name
    sys.exit("ptxas is not installed: pip install nvidia-cuda-nvcc-cu12==12.1.105")


def figures(text, architecture):
    """Registers, bytes of shared memory, stack and spills of each kernel."""
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder, "kernels.ptx"), Path(folder, "kernels.cubin")
        source.write_bytes(text)
        command = [ptxas(), f"-arch={architecture}", "-v", "-o", str(cubin), str(source)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    kernels, name, memory = {}, None, (0, 0)
    for line in output.splitlines():
        if found := re.search(r"Compiling entry function '(\w+)'", line):
            name = found[1]
        elif found := SPILLS.search(line):
            memory = (int(found[1]), int(found[2]) + int(found[3]))
        elif found := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            kernels[name] = (int(found[1]), int(shared[1]) if shared else 0, *memory)
    return kernels


def main():
    text = gzip.decompress((KERNELS / "kernels.ptx.gz").read_bytes())
    version = subprocess.run([ptxas(), "--version"], capture_output=True, text=True).stdout
    print(f"Kernels made from the sources {text.splitlines()[0].decode().split()[-1][:16]}...")
    print(version.strip().splitlines()[-2])
    print("A thread's registers, bytes of static shared memory, bytes of the stack, bytes spilled\n")
    tables = [figures(text, architecture) for architecture in ARCHITECTURES]
    print(f"{'kernel':24}" + "".join(f"{a:>9} shared stack spilled" for a in ARCHITECTURES))
    for name in sorted(tables[0]):
        cells = ("{:9} {:6} {:5} {:7}".format(*table[name]) for table in tables)
        print(f"{name:24}" + "".join(cells))


if __name__ == "__main__":
    main()
