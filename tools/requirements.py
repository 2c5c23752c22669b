#!/usr/bin/env python
"""Requirements for a test of other versions: `python tools/requirements.py newest` leaves out the upper bounds and
pins of pyproject.toml,
`lowest` asks for the lower bounds themselves. Tools (nbdev, mypy) and test libraries keep their bounds: what is
tested is what a user installs."""
import re, sys, tomllib
from pathlib import Path

TOOLS = 'nbdev', 'mypy', 'pytest', 'pytest-xdist', 'hypothesis', 'panache-cli', 'pypandoc_binary'

def name_of(line): return re.match(r'[\w-]+', line)[0]

def requirements(project, which):
    "One line for each package that users or tests need."
    extras = project['optional-dependencies']
    users = [*project['dependencies'], *(l for k,v in extras.items() if k != 'dev' for l in v)]
    seen = {name_of(l): l for l in users}
    tests = [l for l in extras['dev'] if name_of(l) not in seen]
    def other(line):
        if name_of(line) in TOOLS: return line
        low = re.match(r'([\w-]+(?:\[[\w,]+\])?)>=([\w.]+)', line)
        if not low: raise SystemExit(f'{line}: give a lower bound, name>=version')
        version = low[2] if '.' in low[2] else f'{low[2]}.0'
        return f'{low[1]}=={version}.*' if which == 'lowest' else low[1]
    return sorted({other(l) for l in seen.values()} | {other(l) for l in tests})

if __name__ == '__main__':
    if sys.argv[1:] not in (['newest'], ['lowest']):
        raise SystemExit('usage: python tools/requirements.py newest|lowest')
    project = tomllib.loads((Path(__file__).resolve().parent.parent/'pyproject.toml').read_text(encoding='utf-8'))['project']
    print('\n'.join(requirements(project, sys.argv[1])))
