"""Kill a command at a random moment, resume it, and compare all its files with those of a run that nobody disturbed.

    python tools/kill_and_resume.py FOLDER [--trials 100] [--jobs 1] [--only demo,climate]

A trial is killed (SIGKILL) one to three times: after some seconds, at the end of an epoch, or at an event of the
disk (making a folder, a half
written file, before or after a file gets its name or is removed). FOLDER keeps the inputs, the undisturbed runs and
`trials.csv`; given again, the same command goes on with the
trials that are not there. torch is imported once, and each command runs in a fork. A further command is a line in
COMMANDS.
"""
import argparse, csv, json, os, random, re, shutil, signal, sys, threading, time, traceback
os.environ.setdefault('OMP_NUM_THREADS', '1')
from pathlib import Path
import numpy as np, pandas as pd, torch, xarray as xr
from tqdm import tqdm
from mrtl import core
from mrtl.basketball.games import planted_league, simulate_games
from mrtl.cli import main as mrtl
from mrtl.designs import FieldDesign
from mrtl.estimators import MRTLRegressor
from mrtl.folders import SEAL, release
from mrtl.multiresolution import Run
from mrtl.problems import Problem
from mrtl.rivals import field_rivals
from mrtl.runs import open_run, run_problem
from mrtl.simulate import simulate_field
from mrtl.splits import block_split
from mrtl.store import load_tensors

LIMIT = 300 # Seconds after which a command hangs

# ---- commands: each takes the folder of inputs, the folder to write to and whether to resume, and returns an exit code

def inputs(folder):
    "Small files for the commands that read some."
    rng = np.random.default_rng(0); n = 420
    when = pd.date_range('1950-01', periods=n, freq='MS')
    lat,lon = np.arange(-25., 26, 10),np.arange(-175., -74, 10)
    sst = rng.normal(size=(n, len(lat), len(lon))).cumsum(1).cumsum(2)/5
    signal = np.roll(sst[:,2:4,4:8].mean((1,2)), 1)
    xr.Dataset({'sst': (('time','lat','lon'), sst)}, dict(time=when, lat=lat, lon=lon)).to_netcdf(folder/'sst.nc')
    facts = dict(division=['0201','0202','2901'], state=('division', ['AZ','AZ','NM']),
                 census_midwest=('division', np.array([0,0,1], 'int8')), time=when)
    xr.Dataset({'precip': (('division','time'), 3+signal/signal.std()+.5*rng.normal(size=(3, n)))},
               facts).to_netcdf(folder/'rain.nc')
    soil = rng.normal(size=n); flow = 3+signal/signal.std()+.3*soil+.3*rng.normal(size=n)
    rows = pd.DataFrame(dict(month=when.strftime('%Y-%m'), flow=flow, soil=soil, state=np.where(flow>3, 'wet', 'dry')))
    rows.to_csv(folder/'flow.csv', index=False); rows[:-60].to_csv(folder/'old.csv', index=False)
    shots = pd.DataFrame(dict(player=rng.integers(5, size=600), x=rng.uniform(0, 20, 600), y=rng.uniform(0, 16, 600)))
    reach = rng.normal(size=600)-shots.player+2-.1*(shots.x-10)
    shots.assign(goal=(reach>0).astype(int), hour=rng.uniform(0, 24, 600), lead=rng.integers(-3, 4, 600),
                 grade=pd.cut(reach, [-99,-1,1,99], labels=['miss','near','goal'])).to_csv(folder/'shots.csv',
            index=False)
    simulate_games(folder/'games', planted_league(), games=14, quarters=1)
    # finished runs, to predict with and to report again
    for name,words in dict(fields=['fields', *fields(folder, 'old.csv'), '--rank', '2'],
                           events=['events', *events(folder)]).items():
        run = lambda: mrtl([*map(str, words), '--out', str(folder/f'{name}_run')])
        if os.waitpid(child(run, log=folder/f'{name}_run.log'), 0)[1]: raise SystemExit(f'see {folder}/{name}_run.log')

def months():
    ds = simulate_field(240, (8,16), leads=2, variables=2, rank=2, seed=3)
    return FieldDesign.from_xarray(ds.X, leads=2, dtype=torch.float64),ds.y.values[2:]

def fit(data, out, resume):
    out.mkdir(exist_ok=True); d,y = months()
    options = dict(rank=2, schedule=[(2,4),(4,8),(8,16)], full_levels=2, max_epochs=8, patience=3,
                   random_state=5, optimizer='adam')
    m = MRTLRegressor(checkpoint=out/'checkpoint.mrtl', **options).fit(d, y); m.save(out/'model.mrtl'); return 0

def exact(data, out, resume):
    out.mkdir(exist_ok=True); d,y = months()
    # of a `save` that was killed: outside a run's folder nothing else takes it away
    for f in out.glob('.mrtl-*-model.mrtl'): f.unlink()
    m = MRTLRegressor(method='sgd', schedule=[(2,4),(4,8),(8,16)], random_state=5,
                      checkpoint=out/'checkpoint.mrtl').fit(d, y)
    m.save(out/'model.mrtl')
    return 0

def evidence(data, out, resume):
    d,y = months()
    rows = {k: np.asarray(v) for k,v in block_split(len(y), block=20, gap=2, seed=1).items()
            if k in ('train','valid','test')}
    if open_run(out, dict(command='evidence'), resume, False):
        run_problem(out, Problem(d, y, rows, rivals=field_rivals), dict(method='evidence', rank=2))
    return 0

def again(*words, run, file):
    "A prediction, which is asked for once more after a kill; it writes no folder of its own."
    def work(data, out, resume):
        return mrtl(['predict', str(data/run), *(str(data/w) if w.endswith(('.nc','.csv')) else w for w in words),
                     '--out', str(out/file)])
    return work

def report(data, out, resume):
    if not out.exists(): # whole, or not at all
        part = out.with_name(f'{out.name}.part'); shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(data/'fields_run', part); part.rename(out)
    return mrtl(['report', str(out)])

def command(*words, data=lambda folder: []):
    def run(folder, out, resume):
        return mrtl([*words, *map(str, data(folder)), '--out', str(out), *['--resume']*resume])
    return run

ocean = lambda f: ['--ocean', f/'sst.nc', '--rain', f/'rain.nc']
fields = lambda f,table='flow.csv': ['--fields', f/'sst.nc', '--target', f/table, '--leads', '2', '--column', 'flow']
classes = lambda f: ['--fields', f/'sst.nc', '--target', f/'flow.csv', '--column', 'state']
events = lambda f: ['--table', f/'shots.csv', '--index', 'player', '--place', 'x,y:10x8', '--label', 'goal']
grades = lambda f: [*events(f)[:-1], 'grade', '--order', 'miss,near,goal']
games = lambda f: ['--tracking', *sorted((f/'games').glob('*.json')), '--events', f/'games'/'plays.csv']
COMMANDS = dict(
    fit=fit, exact=exact, evidence=evidence,
    climate=command('climate', '--region', 'AZ', '--leads', '2', '--rank', '1', '--schedule', '3x6,6x11',
                    '--full-levels', '1', '--bootstrap', '2', data=ocean),
    climate_evidence=command('climate', '--method', 'evidence', '--region', 'AZ', '--leads', '2', '--bootstrap', '2',
                             data=ocean),
    climate_auto=command('climate', '--method', 'auto', '--region', 'AZ,NM', '--leads', '2', '--rank', '1',
                         '--schedule', '3x6,6x11', data=ocean),
    basketball=command('basketball', '--model', 'product', '--least', '1', '--rank', '2', data=games),
    terms=command('basketball', '--inputs', 'paper', '--least', '1', data=games),
    paper=command('basketball', '--model', 'paper', '--least', '1', '--rank', '2', data=games),
    fields=command('fields', '--covariates', 'soil', data=fields),
    fields_sgd=command('fields', '--method', 'sgd', '--covariates', 'soil', '--rank', '2', data=fields),
    fields_classes=command('fields', '--method', 'evidence', '--covariates', 'soil', '--rank', '2', data=classes),
    classes_sgd=command('fields', '--method', 'sgd', '--covariates', 'soil', '--rank', '2', data=classes),
    events=command('events', '--curve', 'hour', '--covariates', 'lead', data=events),
    events_sgd=command('events', '--method', 'sgd', '--rank', '2', data=events),
    grades=command('events', '--covariates', 'lead', '--rank', '2', data=grades),
    demo=command('demo', '--n', '260'),
    compare=command('compare', '--quick', '--problem', 'ocean', '--methods', 'mrtl,fixed', '--criteria',
                    'valid_loss', '--seeds', '2'),
    maps=command('compare', '--problem', 'maps', '--quick', '--families', 'dense', '--ways',
                 'ridge,eof_ridge', '--seeds', '2'),
    search=command('search', '--quick', '--problem', 'ocean', '--methods', 'random', '--draws', '3'),
    predict=again('--fields', 'sst.nc', '--target', 'flow.csv', run='fields_run', file='new.csv'),
    predict_events=again('--table', 'shots.csv', run='events_run', file='new.csv'),
    report=report)

# ---- ways to die

def die(): os.kill(os.getpid(), signal.SIGKILL)

class Fate:
    "Counts the events of a kind, and ends the process at one of them."
    def __init__(self, at=None, half=False): self.at,self.half,self.n = at,half,0
    def event(self): self.n += 1; return self.n==self.at

def watch(disk, epochs):
    "Put counters around what writes, and save after every epoch."
    def around(name):
        old = getattr(os, name)
        def new(*a, **k):
            first,second = disk.event(),disk.event
            if first and disk.half and name=='fsync': os.ftruncate(a[0], os.fstat(a[0]).st_size//2)
            if first: die()
            got = old(*a, **k)
            if second(): die()
            return got
        setattr(os, name, new)
    for name in ('fsync','replace','rename','unlink','mkdir','symlink'): around(name)
    after = Run.after_epoch
    def eager(self, trainer):
        self.last_save = -1e9; got = after(self, trainer)
        if epochs.event(): die()
        return got
    Run.after_epoch = eager

def child(work, disk=None, epochs=None, log=None):
    "Do something in a fork, that may be told to die; its number."
    if pid := os.fork(): return pid
    code = 1
    try:
        signal.alarm(LIMIT); tqdm.set_lock(threading.RLock())
        file = os.open(log or os.devnull, os.O_CREAT|os.O_WRONLY|os.O_APPEND); os.dup2(file, 1); os.dup2(file, 2)
        watch(disk or Fate(), epochs or Fate()); code = work() or 0; release()
    except BaseException: traceback.print_exc()
    finally: sys.stdout.flush(); sys.stderr.flush(); os._exit(code)

# ---- the same?

TIMES = re.compile(r'seconds|^date$|^load|speed.up|^versions$|^commit$|^checkpoint$')

def bare(value):
    "A value without its times."
    if isinstance(value, dict): return {k: bare(v) for k,v in value.items() if not TIMES.search(str(k))}
    return [bare(v) for v in value] if isinstance(value, list) else value

def table(file):
    t = pd.read_csv(file); t = t[[c for c in t if not TIMES.search(c)]]
    return t[~t.score.astype(str).str.contains('seconds|speed-up')] if 'score' in t else t

def content(file, name):
    "What must be the same of a file, times apart."
    if file.suffix=='.mrtl':
        tensors,meta = load_tensors(file)
        return {k: (v.dtype, v.shape, v.numpy().tobytes()) for k,v in sorted(tensors.items())},bare(meta)
    if file.name==SEAL: found = json.loads(file.read_text()); return found['finished'],sorted(found['files'])
    if file.suffix=='.json':
        return [{k: v for k,v in d.items() if name!='demo' or k!='compare'}
                for d in [bare(json.loads(file.read_text()))]]
    if file.suffix=='.nc':
        with xr.open_datatree(file) as tree:
            return {k: v.to_dataset().load().to_dict() for k,v in tree.subtree_with_keys}
    if file.suffix=='.html':
        return re.findall(r'</?\w+|(?<=>)[A-Za-z][^<0-9]*', re.sub(r'base64,[^"]*', '', file.read_text()))
    # as much as fits into the time of the fit
    if name=='demo' and file.name=='compare.csv': return sorted(set(pd.read_csv(file).method))
    if file.suffix=='.csv': return table(file).to_csv()
    return None if file.name=='search.log' else file.read_bytes()

def differences(a, b, name):
    "The names of files that differ."
    files = lambda d: {str(f.relative_to(d)) for f in d.rglob('*') if not f.is_dir()}
    left,right = files(a),files(b)
    wrong = [f'{f} is missing' for f in left-right]+[f'{f} is too many' for f in right-left]
    for f in sorted(left&right):
        try: same = repr(content(a/f, name))==repr(content(b/f, name))
        except Exception as e: same = False; f = f'{f} ({type(e).__name__}: {e})'
        if not same: wrong.append(f'{f} differs')
    return wrong

# ---- trials

def undisturbed(folder, name):
    "The run that others are held against, and how many events it has."
    out,facts = folder/'whole'/name,folder/'whole'/f'{name}.json'
    if facts.exists(): return json.loads(facts.read_text())
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(exist_ok=True)
    disk,epochs,began = Fate(),Fate(),time.perf_counter()
    def work():
        code = COMMANDS[name](folder/'inputs', out, False)
        core.write_json(facts, dict(disk=disk.n, epochs=epochs.n,
                                    seconds=time.perf_counter()-began)) if not code else None
        return code
    status = os.waitstatus_to_exitcode(os.waitpid(child(work, disk, epochs, folder/'whole'/f'{name}.log'), 0)[1])
    if status: raise SystemExit(f'{name} does not run undisturbed: exit code {status}; see {folder}/whole/{name}.log')
    return json.loads(facts.read_text())

def one_trial(folder, name, number, whole):
    "Kill and resume once; a row of the table."
    rng = random.Random(f'{name} {number}')
    out,log = folder/'killed'/f'{name}-{number}',folder/'killed'/f'{name}-{number}.log'
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(exist_ok=True); log.unlink(missing_ok=True)
    told,began,resume = [],time.perf_counter(),False
    for last in [False]*rng.choice([1, 1, 2, 3])+[True]:
        disk,epochs,wait = Fate(),Fate(),None
        if not last:
            kind = rng.choice(['disk','disk','epoch','time'] if whole['epochs'] else ['disk','disk','time'])
            if kind=='disk': disk = Fate(rng.randint(1, whole['disk']), rng.random()<.5); told.append(f'disk {disk.at}')
            if kind=='epoch': epochs = Fate(rng.randint(1, whole['epochs'])); told.append(f'epoch {epochs.at}')
            if kind=='time': wait = rng.uniform(0, .9*whole['seconds']); told.append(f'time {wait:.2f}')
        pid = child(lambda: COMMANDS[name](folder/'inputs', out, resume), disk, epochs, log)
        if wait: time.sleep(wait); os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]); resume = True
        if code!=-signal.SIGKILL and not last: told[-1] += ' (too late)'
        if code not in (0, -signal.SIGKILL):
            return dict(command=name, trial=number, kills='; '.join(told), same=False, wrong=f'exit code {code}',
                        seconds=round(time.perf_counter()-began, 1))
    wrong = differences(folder/'whole'/name, out, name)
    if not wrong: shutil.rmtree(out); log.unlink()
    return dict(command=name, trial=number, kills='; '.join(told), same=not wrong, wrong='; '.join(wrong),
                seconds=round(time.perf_counter()-began, 1))

COLUMNS = ['command','trial','kills','same','wrong','seconds']

def run_trials(folder, names, trials, jobs):
    "All trials that are not there yet, several at a time."
    file = folder/'trials.csv'
    done = set(pd.read_csv(file)[['command','trial']].itertuples(index=False, name=None)) if file.exists() else set()
    if not file.exists(): file.write_text(','.join(COLUMNS)+'\n')
    wholes = {n: undisturbed(folder, n) for n in names}
    todo,running = [(names[i%len(names)], i//len(names)) for i in range(trials)],{}
    todo = [t for t in todo if t not in done]
    while todo or running:
        while todo and len(running)<jobs:
            name,number = todo.pop(0); row = folder/f'row-{name}-{number}.json'
            if not (pid := os.fork()):
                try: row.write_text(json.dumps(one_trial(folder, name, number, wholes[name])))
                except BaseException: traceback.print_exc()
                finally: os._exit(0)
            running[pid] = row
        row = running.pop(os.wait()[0])
        if not row.exists(): continue
        found = json.loads(row.read_text()); row.unlink()
        print(f"{found['command']} {found['trial']}: {'the same' if found['same'] else found['wrong']} "
              f"({found['kills']}; {found['seconds']} s)", flush=True)
        with open(file, 'a', newline='') as f: csv.DictWriter(f, COLUMNS).writerow(found)
    return pd.read_csv(file, keep_default_na=False)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path, help='keeps inputs, undisturbed runs and results')
    p.add_argument('--trials', type=int, default=100, help='over all commands')
    p.add_argument('--jobs', type=int, default=1, help='at a time')
    p.add_argument('--only', default=','.join(COMMANDS), help='commands, joined by commas')
    a = p.parse_args(); folder = a.folder.resolve(); names = a.only.split(',')
    if gone := set(names)-COMMANDS.keys(): p.error(f"no command {', '.join(gone)}: there are {', '.join(COMMANDS)}")
    os.environ['MRTL_RUNS'] = str(folder/'runs'); torch.set_num_threads(1)
    if not (folder/'inputs'/'events_run'/SEAL).exists():
        shutil.rmtree(folder/'inputs', ignore_errors=True); (folder/'inputs').mkdir(parents=True)
        inputs(folder/'inputs')
    t = run_trials(folder, names, a.trials, a.jobs)
    t['same'] = t.same.astype(str)=='True'
    t['kinds'] = t.kills.str.replace(r'[\d.]+|\(too late\)', '', regex=True)
    print(t.groupby('command', sort=False).agg(trials=('same','size'), same=('same','sum'),
                                               seconds=('seconds','mean')).round(1).to_string())
    print(f"{t.same.sum()} of {len(t)} trials identical, "
          f"{t.kills.str.count(';').add(1).sum()-t.kills.str.count('too late').sum()} kills")
    return int(not t.same.all())

if __name__=='__main__': sys.exit(main())
