#!/usr/bin/env python
"""All that wants a GPU, in under eight minutes: the tests and the notebooks' cells marked `cuda`, and the bench.

    python tools/gpu_check.py FOLDER [--seconds 470]

FOLDER gets `gpu_check.json`: the machine, and for each part its command, how it ended, what it counted or measured, and
the end of its output. The file is written again after each part, so a run that is cut off leaves what it has. A part
that takes longer than its share is ended; the bench keeps the rows that it has by then. Where there is no GPU this is
said, in the file, too, and nothing runs. The exit code is 1 where a part failed, else 0.
"""
import argparse, json, os, subprocess, sys, time, xml.etree.ElementTree as ET
from pathlib import Path
import torch
from mrtl.core import write_json
from mrtl.lab.timing import machine_facts

ROOT = Path(__file__).resolve().parent.parent
SHARES = dict(tests=.45, cells=.15, bench=.4) # Of the seconds; what a part leaves over is for those after it

def marked(pattern, word):
    "Files that hold a word, by their path from the root."
    return [f.relative_to(ROOT).as_posix() for f in sorted(ROOT.glob(pattern)) if word in f.read_text(encoding='utf-8')]

CELLS = ("import sys; from nbdev.test import nbdev_test; [nbdev_test(p, flags='cuda', n_workers=0) "
         "for p in sys.argv[1:]]")

def commands(out, device='cuda'):
    "Part to its command."
    return dict(
        tests=[sys.executable, '-m', 'pytest', '-q', '-n', '0', '-m', 'cuda', '-p', 'no:cacheprovider',
               f"--junitxml={out/'tests.xml'}", *marked('tests/test_*.py', 'mark.cuda')],
        cells=[sys.executable, '-c', CELLS, *marked('nbs/**/*.ipynb', '#| cuda')],
        bench=[sys.executable, '-m', 'mrtl.cli', 'bench', '--quick', '--device', device, '--out', str(out/'bench')])

def run_part(command, seconds, tail=4000):
    "Run a command for so many seconds at most: its code (None where it was ended), its time, the end of its output."
    start = time.perf_counter()
    try:
        done = subprocess.run(command, cwd=ROOT, timeout=max(seconds, 1), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=os.environ|dict(PYTHONPATH=str(ROOT)))
        code,said = done.returncode,done.stdout
    except subprocess.TimeoutExpired as e: code,said = None,e.stdout or b''
    return dict(command=' '.join(map(str, command)), code=code, seconds=round(time.perf_counter()-start, 1),
                output=said.decode(errors='replace')[-tail:])

def counted(out):
    "How many tests there were, failed and were skipped; None where they did not come to an end."
    try: suites = list(ET.parse(out/'tests.xml').getroot().iter('testsuite'))
    except (OSError, ET.ParseError): return None
    return {k: sum(int(s.get(k, 0)) for s in suites) for k in ('tests','failures','errors','skipped')}

def measured(out):
    "Rows of the bench by name; none where there is no file."
    try: rows = json.loads((out/'bench'/'bench.json').read_text())['rows']
    except (OSError, ValueError, KeyError): return {}
    return {r['name']: {k: r.get(k) for k in ('value','unit','spread','goal','met')} for r in rows}

def check(out, seconds, parts, found=dict(tests=counted, bench=measured)):
    "Run parts one after the other, and write the summary after each; the summary."
    end = time.perf_counter()+seconds; left = dict(SHARES)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    summary = dict(gpu=gpu, machine=machine_facts(), parts={})
    for name,command in parts.items():
        # a part may use what those before it left over
        share = left[name]/sum(left.values()); del left[name]
        part = run_part(command, share*(end-time.perf_counter()))
        summary['parts'][name] = part|(dict(found=found[name](out)) if name in found else {})
        print(f"{name}: {'ended after' if part['code'] is None else 'done, code '+str(part['code'])+', in'} "
              f"{part['seconds']:.0f} s", flush=True)
        write_json(out/'gpu_check.json', summary)
    return summary

def main(argv=None, gpu=None):
    "Check this machine; the exit code."
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0]); p.add_argument('folder', type=Path)
    p.add_argument('--seconds', type=float, default=470.)
    a = p.parse_args(argv); out = a.folder.resolve(); out.mkdir(parents=True, exist_ok=True)
    if not (torch.cuda.is_available() if gpu is None else gpu):
        said = 'no GPU: nothing was measured'
        write_json(out/'gpu_check.json', dict(gpu=None, machine=machine_facts(), parts={}, said=said))
        print(f"{said} ({out/'gpu_check.json'})"); return 0
    summary = check(out, a.seconds, commands(out))
    print(f"{summary['gpu']}: {out/'gpu_check.json'}")
    # a bench that was ended has its rows; tests and cells must come to their end
    return int(any(v['code']!=0 and not (k=='bench' and v['code'] is None) for k,v in summary['parts'].items()))

if __name__=='__main__': sys.exit(main())
