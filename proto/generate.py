"""Regenerates waypost_contracts from sources/ (`make proto`).

protoc writes absolute imports (`import cloudevents_pb2`); inside a package they must be relative.
"""

import re
import sys
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).parent
OUT = HERE / "waypost_contracts"


def main() -> int:
    sources = sorted((HERE / "sources").glob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{HERE / 'sources'}", f"-I{well_known}"]
    arguments += [f"--python_out={OUT}", f"--pyi_out={OUT}", f"--grpc_python_out={OUT}", *map(str, sources)]
    failed = protoc.main(arguments)
    if failed:
        return failed
    for made in OUT.glob("*_pb2*.py*"):
        text = made.read_text()
        made.write_text(re.sub(r"^import (\w+_pb2)", r"from waypost_contracts import \1", text, flags=re.MULTILINE))
    (OUT / "waypost_frame_pb2_grpc.py").unlink(missing_ok=True)
    (OUT / "cloudevents_pb2_grpc.py").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
