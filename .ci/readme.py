"""Print the commands in the ```sh blocks of a Markdown file, one a line."""

import re
import sys
from pathlib import Path

for block in re.findall(r"```sh\n(.*?)```", Path(sys.argv[1]).read_text(), flags=re.S):
    print(block.strip())
