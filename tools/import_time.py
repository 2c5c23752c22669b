#!/usr/bin/env python
"""Print how long importing mrtl takes: the best of three fresh processes, beyond a bare Python and beyond torch."""
import os, subprocess, sys, time

def seconds(code, n=3):
    "The best wall time of `n` fresh processes."
    def once():
        start = time.perf_counter()
        subprocess.run([sys.executable, '-c', code], check=True)
        return time.perf_counter()-start
    return min(once() for _ in range(n))

HELP = '''
import importlib, pkgutil, time, mrtl, mrtl.core
took,explain = [],mrtl.core.explain
def timed(module):
    start = time.perf_counter(); explain(module); took.append(time.perf_counter()-start)
mrtl.core.explain = timed
for m in pkgutil.walk_packages(mrtl.__path__, 'mrtl.'): importlib.import_module(m.name)
print(f'help texts{1000*sum(took):25.0f} ms for {len(took)} modules')
'''

if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    bare,torch = seconds('pass'),seconds('import torch')
    print(f'torch{torch-bare:31.2f} s beyond a bare Python')
    print(f'mrtl{1000*(seconds("import mrtl")-bare):32.0f} ms beyond a bare Python (aim: 20)')
    print(f'mrtl.estimators{seconds("import torch; from mrtl.estimators import MRTLRegressor")-torch:21.2f} s '
          f'beyond torch (aim: 2)', flush=True)
    subprocess.run([sys.executable, '-c', HELP], check=True)
