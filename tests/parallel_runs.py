"""Runs that test_parallel.py does in one process and, started by torchrun with this file as the script, in several:
`parallel_runs.py FOLDER WHAT ...`."""
import json, os, signal, socket, sys, time, traceback
from pathlib import Path
import numpy as np
import torch
from mrtl import parallel
from mrtl.events import EventDesign
from mrtl.designs import FieldDesign, Mode
from mrtl.core import DataError
from mrtl.grids import Grid
from mrtl.multiresolution import Run, make_levels
from mrtl.samples import Samples
from mrtl.training import Callback
from mrtl.store import save_tensors

def events(n, seed, mask=False):
    "Who, where, and up to three others, some of them none."
    rng = np.random.default_rng(seed)
    court,near = Grid((8,10)),Grid((6,6), mask=torch.arange(36).reshape(6,6)>2) if mask else Grid((6,6))
    modes = [Mode('player', 7, indexed=True, labels=list(range(7))), Mode('court', 80, court, True),
             Mode('near', 36, near, True)]
    idx = dict(player=rng.integers(0, 7, n), court=rng.integers(0, 80, n), near=rng.integers(-1, 36, (n,3)))
    s = np.sin(idx['court']/9)+.4*(idx['player']-3)*np.cos(idx['court']/20)+.1*(idx['near']>20).sum(1)
    return EventDesign(idx, modes),s,rng

def fields(n, seed, leads=3):
    "Months of two variables with an ocean's mask."
    rng = np.random.default_rng(seed)
    g = Grid((8,12), (-30,30), (100,180), ('lat','lon'), sphere=True, mask=torch.arange(96).reshape(8,12)%11>0)
    X = torch.from_numpy(rng.normal(size=(n+leads, 2, 8, 12))).cumsum(0)*.1
    design = FieldDesign(X, g, ('variable',), leads=leads); x = design.batch().x.flatten(2)
    return design,x.mean((1,2)).numpy()*9,x[:,1,:40].mean(1).numpy()*5,rng

SHAPES = [dict(court=(4,5), near=(3,3)), dict(court=(4,5), near=(6,6)), dict(court=(8,10), near=(6,6))]

def shots(criterion='valid_loss', loss='logistic', n=701, **options):
    d,s,rng = events(n+203, 0, criterion=='grad_norm')
    y = (s>rng.normal(size=n+203)).astype(float) if loss=='logistic' else rng.poisson(np.exp(.3*s)).astype(float)
    w = rng.uniform(.1, 3, n); w[::17] = 0.
    given = dict(rank=2, nonnegative=('court',), main_effects=True, loss=loss, smooth=.05, l2=.003,
                 criterion=criterion, batch_size=96, max_epochs=6, patience=2, lr=.03, seed=5, dtype='float64')
    return Run(Samples(d.take(range(n)), y[:n,None], w), Samples(d.take(range(n, n+203)), y[n:,None]),
               levels=make_levels(d.modes, SHAPES, 2), **given|options)

def rain(criterion='valid_loss', valid=True, n=301, **options):
    d,a,b,rng = fields(n+101, 1)
    y = torch.from_numpy(np.stack([a, b], 1))
    y = y/y.std(0)+.3*torch.from_numpy(rng.normal(size=y.shape))
    y[5::7,0] = torch.nan
    given = dict(rank=2, smooth=.1, l2=.01, criterion=criterion, batch_size=64, max_epochs=6, patience=2, lr=.05,
                 lr_decay=.9, seed=2, dtype='float64')
    held = Samples(d.take(range(n, n+101)), y[n:])
    return Run(Samples(d.take(range(n)), y[:n], rng.uniform(.5, 2, n)), held if valid else None,
               levels=make_levels(d.modes, [(2,3),(4,6),(8,12)], 2, outputs=2), **given|options)

CASES = dict(
    shots=lambda: shots(), variance=lambda: shots('grad_variance', l1=.001, kernel='exponential', sigma=.2),
    norm=lambda: shots('grad_norm', 'poisson', optimizer='sgd', lr=.01),
    rain=lambda: rain(), entropy=lambda: rain('grad_entropy', valid=False),
    few=lambda: rain(n=130, optimizer='lbfgs', max_epochs=2), one=lambda: shots(n=97, batch_size=96))

def fit(run):
    "History and levels without times, and the model's tensors."
    low = run.fit(); bare = lambda rows: [{k: v for k,v in r.items() if k!='seconds'} for r in rows]
    return dict(history=bare(run.history), table=bare(run.table)),dict(low.state_dict())

class Often(Callback):
    "Save after every epoch, and do something at one of them, in one process, the first time."
    def __init__(self, run, what, folder): self.run,self.what,self.mark = run,what,Path(folder)/'done_once'
    def before_fit(self, trainer): self.run.last_save = -np.inf
    def after_epoch(self, trainer):
        self.run.last_save = -np.inf
        # and so hears of the death from torchrun first
        if self.what=='busy' and (trainer.stage,trainer.epoch)==('low',1) and parallel.is_main(): time.sleep(1)
        if (trainer.stage,trainer.epoch)==('low',1) and parallel.process_rank()==parallel.process_count()-1 and not self.mark.exists():
            self.mark.touch()
            if self.what in ('kill','busy'): os.kill(os.getpid(), signal.SIGKILL)
            if self.what=='stall': time.sleep(9)
            if self.what=='interrupt': os.kill(os.getpid(), signal.SIGINT)
            if self.what=='part': trainer.model.bias.data += 1e-9
            if self.what=='fail': raise DataError('bad rows in the last process')

def cut(folder, what):
    "A run that is cut off in its first low-rank level, if `what` says so, and goes on the next time."
    run = shots(checkpoint=Path(folder)/'c.mrtl'); run.callbacks = (Often(run, what, folder),)
    info,model = fit(run); keep(folder, 'cut', info, model)

def keep(folder, name, info, model):
    save_tensors(Path(folder)/f'{name}.{parallel.process_rank()}', model, dict(info, world=parallel.process_count()))

def alike(folder):
    "A user's own script: unseeded estimators in every process; and data that differ."
    from mrtl.estimators import MRTLRegressor
    design,y,_,rng = fields(250, 1)
    m = MRTLRegressor(rank=2, schedule=[(2,3),(8,12)], max_epochs=3, random_state=None, device='cpu').fit(design, y)
    m.save(Path(folder)/'own.mrtl')
    keep(folder, 'own', dict(files=sorted(p.name for p in Path(folder).glob('own.mrtl'))),
         dict(m.fitted_.scorer.state_dict()))
    try: MRTLRegressor(rank=2, max_epochs=2).fit(design, y+parallel.process_rank())
    except parallel.ParallelError as e: said = str(e)
    with parallel.work_alone():
        other = MRTLRegressor(rank=2, schedule=[(2,3),(8,12)], max_epochs=2,
                              random_state=parallel._Group.rank).fit(design, y)
    keep(folder, 'apart', dict(said=said), dict(other.fitted_.scorer.state_dict()))

def main(folder, *what):
    "Do what is asked in this process; the exit code."
    parallel.join_processes()
    if what[0] in ('cut','refuse','typo'): from mrtl import cli
    if what[0]=='cut':
        cli.COMMANDS['demo'] = lambda **_: cut(folder, what[1])
        return cli.main(['demo'])
    if what[0]=='refuse': return cli.main(['demo', '--out', folder])
    if what[0]=='typo': return cli.main(['dmeo'])
    for name in what:
        if name=='alike': alike(folder)
        else: keep(folder, name, *fit(CASES[name]()))
    return 0

def host(port):
    "Keep the store where processes meet, as torchrun does, in a process that outlives them."
    if pid := os.fork(): return pid
    from torch.distributed import TCPStore
    store = TCPStore('127.0.0.1', port, is_master=True, wait_for_workers=False); time.sleep(100); os._exit(0)

def child(job, rank, port):
    "One of the processes."
    os.environ.update(dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(job['n']), MASTER_ADDR='127.0.0.1',
                           MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE='True')|job['env'])
    for fd,name in (1,'out'),(2,'err'):
        os.dup2(os.open(f"{job['log']}.{rank}.{name}", os.O_WRONLY|os.O_CREAT|os.O_TRUNC), fd)
    code = 99
    try: code = main(job['folder'], *job['what'])
    except SystemExit as e: code = e.code
    except BaseException: traceback.print_exc()
    sys.stdout.flush(); sys.stderr.flush(); parallel.leave_processes(); os._exit(code)

def serve():
    """Fork n processes for every line of JSON that comes in, which saves importing everything again; answer with
    their exit codes, None for one that had to be ended."""
    import mrtl.cli
    torch.optim.Adam([torch.zeros(1, requires_grad=True)]) # imports for seconds, once
    for line in sys.stdin:
        job = json.loads(line); pids,codes,end = {},[None]*json.loads(line)['n'],time.monotonic()+60
        with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
        keeper = host(port)
        for r in range(job['n']):
            if pid := os.fork(): pids[pid] = r
            else: child(job, r, port)
        while None in codes and time.monotonic()<end:
            for pid,r in pids.items():
                if codes[r] is None and (ended := os.waitpid(pid, os.WNOHANG))[0]:
                    codes[r] = os.waitstatus_to_exitcode(ended[1])
            time.sleep(.02)
        for pid in [p for p,r in pids.items() if codes[r] is None]+[keeper]:
            os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
        print(json.dumps(codes), flush=True)

if __name__=='__main__':
    if sys.argv[1:]==['serve']: serve()
    else: sys.exit(main(*sys.argv[1:]))
