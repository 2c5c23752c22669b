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

if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    bare,torch = seconds('pass'),seconds('import torch')
    print(f'torch{torch-bare:31.2f} s beyond a bare Python')
    print(f'mrtl{seconds("import mrtl")-bare:32.2f} s beyond a bare Python (aim: 0.2)')
    print(f'mrtl.estimators{seconds("import torch; from mrtl.estimators import MRTLRegressor")-torch:21.2f} s beyond torch (aim: 2)')
