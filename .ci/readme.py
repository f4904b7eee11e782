"""Print the commands in the ```sh blocks of Markdown files, one a line, and each only once."""

import re
import sys
from pathlib import Path

texts = [Path(name).read_text() for name in sys.argv[1:]]
lines = [
    line for text in texts for block in re.findall(r"```sh\n(.*?)```", text, flags=re.S) for line in block.split("\n")
]
print("\n".join(dict.fromkeys(line for line in lines if line)))
