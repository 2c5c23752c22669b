"""Measure what several processes cost and bring: `python nbs/reproduction/more_machines.py` writes results/more_machines.json, for tutorials/more_machines. About two minutes on two cores."""
import json, os, subprocess, sys, time
from importlib.metadata import version
from pathlib import Path

OUT = Path(__file__).parent/'results'/'more_machines.json'

def events(n, full):
    "200 players, 40 x 50 feet, defenders in 12 x 12; full-rank at 8 x 10 and 6 x 6."
    import numpy as np, torch
    from mrtl.events import EventDesign
    from mrtl.designs import Mode
    from mrtl.grids import Grid
    rng = np.random.default_rng(0); court,near = (Grid((8,10)),Grid((6,6))) if full else (Grid((40,50)),Grid((12,12)))
    modes = [Mode('player', 200, indexed=True), Mode('court', court.D, court, True), Mode('defender', near.D, near, True)]
    idx = {m.name: rng.integers(-1 if m.name=='defender' else 0, m.size, (n, 5 if m.name=='defender' else 1)) for m in modes}
    return EventDesign(idx, modes),torch.from_numpy((rng.random((n,1))<.13).astype(float))

def fields(n):
    "Two variables on 80 x 180, six leads."
    import torch
    from mrtl.designs import FieldDesign
    from mrtl.grids import Grid
    gen = torch.Generator().manual_seed(0); d = FieldDesign(torch.randn(n+6, 2, 80, 180, generator=gen), Grid((80,180)), leads=6)
    return d,torch.randn(len(d), 1, generator=gen, dtype=torch.float64)

CASES = [('low 40x50, 12x12, rank 20', 'events', 40_000, 1024), ('low 40x50, 12x12, rank 20', 'events', 160_000, 16_384), ('full 8x10, 6x6', 'full', 40_000, 1024), ('low 80x180, 6 leads, rank 8', 'fields', 480, 64)]

def trainer(kind, design, y, batch, part):
    import torch
    from mrtl.models import FullRank, LowRank
    from mrtl.samples import Data
    from mrtl.training import Objective, Trainer
    model = FullRank(design.modes) if kind=='full' else LowRank(design.modes, 8 if kind=='fields' else 20); gen = torch.Generator().manual_seed(1)
    for p in model.parameters(): p.data = .1*torch.randn(p.shape, generator=gen)
    data = Data(design if part is None else design.hold(part), y, part=part)
    t = Trainer(model, data, objective=Objective(design.modes, 'squared' if kind=='fields' else 'logistic', smooth=.01, l2=1e-3), batch_size=batch); t.epoch = 1
    return t

def measure(repeats=7):
    "In two processes: epochs by one of them, by both together, and by each on its own at the same time, in turn; sums by size."
    import torch
    from mrtl import parallel
    torch.set_num_threads(1); parallel.join_processes(); rows,sums,load = [],[],os.getloadavg()[0]
    def timed(f): start = time.perf_counter(); f(); return time.perf_counter()-start
    median = lambda v: sorted(v)[len(v)//2]
    for name,kind,n,batch in CASES:
        design,y = fields(n) if kind=='fields' else events(n, kind=='full')
        with parallel.work_alone(): one = trainer(kind, design, y, batch, None)
        both = trainer(kind, design, y, batch, parallel.own_part(n)); t1,t2,t3 = [],[],[]
        for i in range(repeats+1):
            if parallel.is_main():
                with parallel.work_alone(): t1.append(timed(one._epoch))
            parallel.from_all([0]); t2.append(timed(both._epoch)); parallel.from_all([0])
            with parallel.work_alone(): t3.append(timed(one._epoch)) # each all rows, at the same time, sharing nothing
            parallel.from_all([0])
        if parallel.is_main(): rows.append(dict(level=name, rows=n, batch=batch, parameters=sum(p.numel() for p in one.model.parameters()), steps=-(-n//batch), one=median(t1[1:]), two=median(t2[1:]), beside=median(t3[1:]), ratio=median([a/b for a,b in zip(t1[1:], t2[1:])]), range=[min(a/b for a,b in zip(t1[1:], t2[1:])), max(a/b for a,b in zip(t1[1:], t2[1:]))]))
    for n in (100, 1000, 10**4, 47_000, 10**5, 10**6, 10**7):
        t = torch.zeros(n); sums.append(dict(numbers=n, seconds=median([timed(lambda: parallel.sum_(t)) for _ in range(40 if n<10**6 else 9)])))
    agree = median([timed(lambda: parallel.from_all([1])) for _ in range(40)])
    if parallel.is_main(): print(json.dumps(dict(rows=rows, sums=sums, agree=agree, load=[load, os.getloadavg()[0]])))

def wall(*command):
    start = time.perf_counter(); done = subprocess.run([sys.executable, *command], env=os.environ|dict(OMP_NUM_THREADS='1'), capture_output=True, text=True)
    if done.returncode: sys.exit(done.stderr)
    return time.perf_counter()-start,done.stdout

def main():
    run = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', __file__]
    found = json.loads(wall(*run, 'measure')[1]); plain,two = [],[]
    for _ in range(3): plain.append(wall(__file__, 'start')[0]); two.append(wall(*run, 'start')[0])
    found |= dict(start_one=sorted(plain)[1], start_two=sorted(two)[1], threads=1, cores=os.cpu_count(), versions=dict(torch=version('torch').split('+')[0], mrtl=version('mrtl')), commit=subprocess.run(['git','rev-parse','--short','HEAD'], capture_output=True, text=True, cwd=OUT.parent).stdout.strip(), command='python nbs/reproduction/more_machines.py')
    OUT.write_text(json.dumps(found, indent=1)+'\n'); print(json.dumps(found, indent=1))

if __name__=='__main__':
    if sys.argv[1:]==['measure']: measure()
    elif sys.argv[1:]==['start']:
        import mrtl.multiresolution
        from mrtl import parallel
        parallel.join_processes()
    else: main()
