"""`python -P -m tests.fault [--seed N] [--seconds S]`: kill things under load and count.

Exit code 0 only when every acknowledged job reached exactly one end and nothing else was found.
"""

import argparse
import random
import sys

from tests.fault.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -P -m tests.fault", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="which faults, when (default: a random one, printed)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long things go wrong (default: 60)")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    report = run(seed, options.seconds, lambda line: print(line, flush=True))
    print("\n".join(report.lines()))
    if report.findings:
        print(f"repeat with: make fault SEED={seed}")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
