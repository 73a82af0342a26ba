"""Run the programs that fill results.md, one after the other, each in a process of its own.

    python -m benchmarks [NAME ...]

They are those whose figures are ratios to something that anyone can run, and that need no GPU. The other programs of
this folder take longer; the documents that quote them name them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

PROGRAMS = (
    "frames", "decode_cost", "faces", "stills", "crops", "workers", "one_more", "memory",
    "training", "study_loop", "train_start", "evaluation", "nothing_to_do",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PROGRAMS)}; by default all")
    names = parser.parse_args().names or PROGRAMS
    if unknown := set(names) - set(PROGRAMS):
        parser.error(f"unknown program {', '.join(sorted(unknown))}; the programs are {', '.join(PROGRAMS)}")
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        start = time.perf_counter()
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode:
            failed.append(name)
        print(f"{name}: {time.perf_counter() - start:.0f} s\n", flush=True)
    if failed:
        sys.exit(f"{', '.join(failed)} failed; their sections of benchmarks/results.md are as before.")


if __name__ == "__main__":
    main()
