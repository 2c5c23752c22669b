"""A run's folder is never between two states: who may write, what a kill left, what is missing, what an
interruption says, and disks that say no."""
import errno, inspect, json, os, re, shutil, signal, socket, subprocess, sys
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from mrtl import cli, core, runs
from mrtl.cli import main
from mrtl.core import ConfigError, MRTLError, write_json
from mrtl.designs import FieldDesign
from mrtl.folders import LOCK, SEAL, claim, faults, read_seal, release
from mrtl.grids import Grid
from mrtl.multiresolution import Run, make_levels
from mrtl.problems import Problem
from mrtl.runs import open_run, predict_run, run_problem
from mrtl.samples import Samples
from mrtl.store import load_tensors
from mrtl.training import Callback
from conftest import ROOT

DEAD = 2**22+7 # no process has this number

@pytest.fixture(autouse=True)
def let_go():
    "No test holds a folder for the next one."
    yield
    release()

def small():
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.normal(size=(120, 1, 4, 6)))
    y = X[:,0,:2].mean((1,2)).numpy()+.1*rng.normal(size=120)
    rows = dict(train=np.arange(70), valid=np.arange(70, 95), test=np.arange(95, 120))
    return Problem(FieldDesign(X, Grid((4,6)), ('lead',)), y, rows)

CONFIG = dict(command='example', seed=0)

def run(out, resume=True, config=CONFIG):
    "The example's run, as a command does it; was there anything to do?"
    todo = open_run(out, config, resume, False)
    if todo: run_problem(out, small(), dict(rank=1, max_epochs=2, schedule=[(2,3),(4,6)], full_levels=1, method='sgd'))
    release(); return todo

@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp('finished')/'run'; assert run(out, False); return out

@pytest.fixture
def folder(finished, tmp_path): shutil.copytree(finished, tmp_path/'run'); return tmp_path/'run'

def names(out): return sorted(f.name for f in out.iterdir())

def same_run(a, b):
    "All files are there, and the model and its predictions have the same bits."
    x,y = (load_tensors(d/'model.mrtl')[0] for d in (a, b))
    assert set(names(b))<=set(names(a)) and x.keys()==y.keys() and all(x[k].equal(y[k]) for k in x)
    assert ((a/'predictions.csv').read_bytes()==(b/'predictions.csv').read_bytes()
            and read_seal(a)['finished'] and not faults(a))

# ---- states of a folder

def half(name): return lambda d: (d/name).write_bytes((d/name).read_bytes()[:len((d/name).read_bytes())//2])
def gone(*files): return lambda d: [(d/f).unlink() for f in files]
def put(name, text=''): return lambda d: ((d/name).parent.mkdir(exist_ok=True), (d/name).write_text(text))
def config(**more): return lambda d: write_json(d/'config.json', CONFIG|more)
def unsealed(d): found = read_seal(d); write_json(d/SEAL, found|dict(finished=False))

# what it is, what is done to a finished run, is there anything to do, is the model fitted again?
MENDED = [
    ('nothing happened', lambda d: None, False, False),
    ('the report is missing', gone('report.html'), True, False),
    ('the report was edited', put('report.html', '<html>'), True, False),
    ('killed between model and report', lambda d: (gone('report.html')(d), unsealed(d)), True, False),
    ('killed before the seal said finished', unsealed, True, False),
    ('the model is missing', gone('model.mrtl'), True, True),
    ('the maps are missing', gone('factors.nc'), True, True),
    ('half a table of predictions', half('predictions.csv'), True, True),
    ('half a history', half('history.csv'), True, True),
    ('half a netCDF file', half('factors.nc'), True, True),
    ('empty metrics', put('metrics.json'), True, True),
    ('metrics of another run', put('metrics.json', '{"test": {"r2": 1}}'), True, True),
    ('one bit of the model flipped',
     lambda d: (d/'model.mrtl').write_bytes((b := (d/'model.mrtl').read_bytes())[:-9]+bytes([b[-9]^1])+b[-8:]),
     True, True),
    ('all but the configuration is missing',
     lambda d: [f.unlink() for f in d.iterdir() if f.name!='config.json'], True, True),
    ('no seal', gone(SEAL), True, True),
    ('an empty seal', put(SEAL), True, True),
    ('a seal that is a list', put(SEAL, '[1]'), True, True),
    ('a seal that names files elsewhere', put(SEAL, '{"finished": true, "files": {"../x": "0"}}'), True, True),
    ('a seal whose files are numbers', put(SEAL, '{"finished": true, "files": {"model.mrtl": 3}}'), True, True),
    ('temporary litter', put('.mrtl-0a1b2c3d-model.mrtl', 'half'), False, False),
    ('litter one folder down', put('bootstrap/.mrtl-0a1b2c3d-draw_0001.mrtl', 'half'), False, False),
    ('litter beside a missing model', lambda d: (put('.mrtl-00000000-model.mrtl')(d), gone('model.mrtl')(d)), True,
     True),
    ('the lock of a dead process', put(LOCK, json.dumps(dict(pid=DEAD, host=socket.gethostname()))), False, False),
    ('an empty lock', put(LOCK), False, False),
    ('a lock with other content', put(LOCK, '[]'), False, False),
    ('a checkpoint and its lock', lambda d: (put('.mrtl.checkpoint.mrtl.lock',
        json.dumps(dict(pid=DEAD, host=socket.gethostname())))(d), gone('model.mrtl')(d)), True, True)]

@pytest.mark.parametrize('what,happens,todo,fits', MENDED, ids=[r[0] for r in MENDED])
def test_a_folder_in_any_state_is_mended(finished, folder, monkeypatch, capsys, what, happens, todo, fits):
    happens(folder); again = []; fit = runs.fit_problem
    # pictures take their time
    if what!='the report is missing':
        monkeypatch.setattr(runs, 'write_report', lambda path, *a, **k: path.write_text('a page'))
    monkeypatch.setattr(runs, 'fit_problem', lambda *a: again.append(1) or fit(*a))
    capsys.readouterr(); lost = faults(folder)
    assert run(folder)==todo and bool(again)==fits; same_run(folder, finished)
    said = capsys.readouterr().out
    assert all(f'{k} {v}' in said for k,v in lost.items()) and ('made again' in said)==bool(lost)
    assert not [f for f in folder.rglob('.mrtl*')] and not run(folder), 'the second time nothing is left to do'

REFUSED = [
    ('an empty configuration', put('config.json'), 'config.json is not JSON or is damaged'),
    ('half a configuration', half('config.json'), 'nobody can tell which run'),
    ('a configuration that is a list', put('config.json', '[]'), 'config.json is not JSON or is damaged'),
    ('the configuration of a later version', config(speed=1), r'another speed;.*speed: 1 there, nothing asked for'),
    ('the configuration of an earlier version', put('config.json', '{"command": "example"}'),
     r'another seed;.*nothing there, 0 asked for'),
    ('another seed', config(seed=7), r'seed: 7 there, 0 asked for'),
    ('another command', config(command='demo'), '"demo" there'),
    ('a configuration of something else', put('config.json', '{"name": "package"}'), 'another name, command, seed'),
    ('a lock of another machine', put(LOCK, '{"pid": 12, "host": "node-7"}'),
     r'process 12 on node-7.*delete .*\.mrtl\.lock'),
    ('no configuration among files', gone('config.json'), 'holds no run of mrtl')]

@pytest.mark.parametrize('what,happens,says', REFUSED, ids=[r[0] for r in REFUSED])
def test_a_folder_of_another_run_is_refused_and_left_as_it_is(folder, what, happens, says):
    happens(folder); before = {f: f.read_bytes() for f in folder.iterdir()}
    with pytest.raises(MRTLError, match=says): run(folder)
    assert {f: f.read_bytes() for f in folder.iterdir()}==before

@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('what', [[], ['.mrtl-0a1b2c3d-config.json'], [LOCK], [LOCK, '.mrtl-0a1b2c3d-config.json']],
                         ids=['empty','litter','lock','both'])
def test_killed_before_the_configuration_was_there(tmp_path, what, resume):
    out = tmp_path/'run'; out.mkdir()
    for f in what: (out/f).write_text('')
    assert open_run(out, CONFIG, resume, False); release(); assert names(out)==['config.json']

def test_what_is_not_ours_stays(folder):
    for f in ('notes.txt','.hidden','.mrtl-notes','.mrtl-0a1b2c3d','.0a1b2c3d-model.mrtl'):
        (folder/f).write_text('mine')
    (folder/'figures').mkdir(); (folder/'figures'/'a.png').write_text('mine'); assert not run(folder)
    assert open_run(folder, CONFIG, False, True); release()
    assert set(names(folder))=={'config.json','notes.txt','.hidden','.mrtl-notes','.mrtl-0a1b2c3d','.0a1b2c3d-model.mrtl','figures'} and (folder/'figures'/'a.png').exists()

def test_overwrite_goes_through_links(folder, tmp_path):
    "Draws that lie on another disk are removed, the other disk is not."
    (tmp_path/'disk'/'draws').mkdir(parents=True)
    (tmp_path/'disk'/'draws'/'draw_0001.mrtl').touch()
    (folder/'bootstrap').symlink_to(tmp_path/'disk'/'draws')
    assert (open_run(folder, CONFIG, False, True) and not (folder/'bootstrap').is_symlink()
            and (tmp_path/'disk').exists() and not list((tmp_path/'disk').rglob('*.mrtl')))

# ---- two at a time

HOLD = ('import sys, time\nfrom mrtl.folders import claim\nclaim(sys.argv[1], single=len(sys.argv)>2); '
        'print("held", flush=True); time.sleep(600)')

@pytest.fixture
def holder():
    "Another process that holds a folder or a file."
    others = []
    def hold(path, *more):
        others.append(subprocess.Popen([sys.executable, '-c', HOLD, str(path), *more],
                                       stdout=subprocess.PIPE, text=True, cwd=ROOT))
        assert others[-1].stdout.readline()=='held\n'
        return others[-1]
    yield hold
    for p in others: p.kill(); p.wait()

HELD = [('demo', ['demo']), ('demo, resumed', ['demo','--resume']), ('demo, again', ['demo','--overwrite']),
        ('maps', ['compare','--problem','maps','--quick']),
    ('compare', ['compare','--quick','--problem','ocean','--resume']),
    ('search', ['search','--quick','--problem','ocean']),
    ('search, joined', ['search','--quick','--problem','ocean','--resume']), ('bench', ['bench','--only','cp'])]

def test_a_second_command_on_a_folder_is_refused(tmp_path, holder, capsys):
    p = holder(tmp_path/'run')
    for what,argv in HELD:
        assert main([*argv, '--out', str(tmp_path/'run')])==2, what
        assert f'in use by process {p.pid} on {socket.gethostname()}' in capsys.readouterr().err, what
    assert names(tmp_path/'run')==[LOCK]

def test_a_report_waits_for_its_run(folder, holder, capsys):
    p = holder(folder); assert main(['report', str(folder)])==2 and f'process {p.pid}' in capsys.readouterr().err

def test_a_killed_holder_holds_nothing(folder, holder):
    p = holder(folder); p.kill(); p.wait()
    assert (folder/LOCK).exists() and not run(folder) and not (folder/LOCK).exists()

def test_a_checkpoint_in_use_is_refused(tmp_path, holder):
    p = holder(tmp_path/'c.mrtl', 'file'); q = small()
    with pytest.raises(ConfigError, match=f'c.mrtl is in use by process {p.pid}'):
        q.fit(q.estimator(checkpoint=tmp_path/'c.mrtl', rank=1, max_epochs=1, method='sgd'))

def test_a_forked_child_does_not_hold_what_its_parent_holds(tmp_path):
    claim(tmp_path)
    if not (pid := os.fork()):
        try: claim(tmp_path); os._exit(0)
        except ConfigError: os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])==3 and (tmp_path/LOCK).exists()
    claim(tmp_path); release(); assert names(tmp_path)==[]

def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def none(self, *a, **k): raise OSError(errno.ENOLCK, 'no locks available')
    monkeypatch.setattr('mrtl.folders.FileLock.acquire', none)
    assert open_run(tmp_path/'run', CONFIG, False, False) and 'has no locks' in capsys.readouterr().err

# ---- predictions

def predict(run, out, problem=None):
    q = problem or small()
    return predict_run(run, out, Problem(q.design, q.y, dict(test=np.arange(len(q.y))), reference=0.))

def test_predictions_in_one_folder_keep_their_scores(finished, tmp_path):
    out = tmp_path/'new'; q = small()
    for k in (1, 2): predict(finished, out/f'seed{k}.csv', Problem(q.design, q.y*k, q.rows))
    a,b = (json.loads((out/f'seed{k}.metrics.json').read_text()) for k in (1, 2))
    assert (names(out)==['seed1.csv','seed1.metrics.json','seed2.csv','seed2.metrics.json'] and a['test']!=b['test']
            and (a['file'], b['file'])==('seed1.csv','seed2.csv'))

NAMES = [('p.txt', 'p.metrics.json has the scores of p.csv'), ('p', 'another stem'),
         ('q.metrics.json', 'is the name of a file of scores'), ('sub', 'is a folder'),
         ('bad.csv', 'bad.metrics.json is not of mrtl or is damaged'), ('list.csv', 'is not of mrtl')]

@pytest.mark.parametrize('name,says', NAMES)
def test_a_prediction_that_would_replace_anothers_scores(finished, tmp_path, name, says):
    predict(finished, tmp_path/'p.csv'); (tmp_path/'sub').mkdir()
    (tmp_path/'bad.metrics.json').write_text('{')
    (tmp_path/'list.metrics.json').write_text('[]')
    before = {f: f.read_bytes() for f in tmp_path.glob('*.*')}
    with pytest.raises(ConfigError, match=says): predict(finished, tmp_path/name)
    assert {f: f.read_bytes() for f in tmp_path.glob('*.*')}==before
    predict(finished, tmp_path/'p.csv')
    predict(finished, tmp_path/'p.csv.gz')
    assert (tmp_path/'p.csv.metrics.json').exists()

def test_a_prediction_cleans_its_own_litter(finished, tmp_path, holder):
    for f in ('.mrtl-0a1b2c3d-p.csv','.mrtl-0a1b2c3d-p.metrics.json','.mrtl-0a1b2c3d-p.other.csv','.mrtl-0a1b2c3d-q.csv'):
        (tmp_path/f).touch()
    predict(finished, tmp_path/'p.csv')
    assert names(tmp_path)==['.mrtl-0a1b2c3d-p.other.csv','.mrtl-0a1b2c3d-q.csv','p.csv','p.metrics.json']
    p = holder(tmp_path/'p.csv', 'file')
    with pytest.raises(ConfigError, match=f'p.csv is in use by process {p.pid}'): predict(finished, tmp_path/'p.csv')

# ---- interruptions

def stopped(how, claims=None, leaves=None):
    def f(**kw):
        if claims: open_run(claims, CONFIG, True, False)
        if leaves: (claims/leaves).parent.mkdir(exist_ok=True); (claims/leaves).touch()
        how()
    return f

def ctrl_c(): os.kill(os.getpid(), signal.SIGINT)
def told(): os.kill(os.getpid(), signal.SIGTERM)
def while_saving():
    "Ctrl-C while a first Ctrl-C is being handled."
    try: ctrl_c()
    except KeyboardInterrupt: ctrl_c()

AGAIN,BEGINS,ON = ('give the same command again','nothing was kept yet: the same command with '
                   '--resume begins again','the same command with --resume goes on')
ENDS = [('predict', ctrl_c, False, None, 130, AGAIN), ('report', ctrl_c, False, None, 130, AGAIN),
        ('bench', ctrl_c, False, None, 130, AGAIN), ('demo', ctrl_c, False, None, 130, AGAIN),
    ('demo', ctrl_c, True, None, 130, BEGINS), ('climate', ctrl_c, True, 'checkpoint.mrtl', 130, ON),
    ('compare', ctrl_c, True, 'trials/a.mrtl', 130, ON), ('search', ctrl_c, True, 'search.log', 130, ON),
    ('compare', ctrl_c, True, None, 130, BEGINS), ('demo', told, True, 'checkpoint.mrtl', 143, ON),
    ('predict', told, False, None, 143, AGAIN), ('demo', while_saving, True, 'checkpoint.mrtl', 130, ON)]

@pytest.mark.parametrize('name,how,claims,leaves,code,says', ENDS,
                         ids=[f'{r[0]}-{r[1].__name__}-{r[3] or ("opened" if r[2] else "before")}' for r in ENDS])
def test_an_interruption_promises_what_the_command_can_do(tmp_path, monkeypatch, capsys, name, how, claims, leaves, code, says):
    f = stopped(how, tmp_path/'run' if claims else None, leaves)
    f.__signature__ = inspect.signature(cli.COMMANDS[name])
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setitem(cli.COMMANDS, name, f); monkeypatch.setattr(cli, 'parse', lambda argv: (name, {}))
    assert main([name])==code; err = capsys.readouterr().err
    assert err.startswith('mrtl: interrupted') and err.strip().endswith(says)
    assert [signal.getsignal(s) for s in (signal.SIGINT,
                                          signal.SIGTERM)]==handlers and not (tmp_path/'run'/LOCK).exists()

def test_sigterm_where_ctrl_c_is_ignored(tmp_path, monkeypatch, capsys):
    "As a script's background jobs have it."
    monkeypatch.setitem(cli.COMMANDS, 'report', lambda **kw: told())
    monkeypatch.setattr(cli, 'parse', lambda argv: ('report', {}))
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try: assert main(['report'])==143 and 'interrupted' in capsys.readouterr().err
    finally: signal.signal(signal.SIGINT, old)

# ---- callbacks with state

class Levels(Callback):
    "Has a state: what was seen, tensors and arrays of each level."
    def __init__(self): self.seen,self.maps,self.begun = [],{},0
    def before_fit(self, trainer): self.begun += 1
    def after_epoch(self, trainer): self.seen.append([trainer.stage, trainer.level, trainer.epoch])
    def after_fit(self, trainer):
        self.maps[f'{trainer.stage} {trainer.level}'] = dict(W=trainer.model.full().detach().clone(),
                best=np.float64(trainer.best_loss).reshape(1), none=None)
    def state_dict(self): return vars(self)
    def load_state_dict(self, state): vars(self).update(state)

class Halve(Callback):
    "Has no state of its own, but sets the trainer's."
    def before_fit(self, trainer): trainer.lr *= .9
    def after_epoch(self, trainer):
        if trainer.epoch==1: trainer.lr *= .5
        if trainer.epoch==3 and trainer.level=='2x4': trainer.stop = True

class Cut(Callback):
    def __init__(self, at, hook): self.at,self.hook = at,hook
    def after_epoch(self, trainer): self.meet('after_epoch', (trainer.stage, trainer.level, trainer.epoch))
    def before_fit(self, trainer): self.meet('before_fit', (trainer.stage, trainer.level))
    def after_fit(self, trainer): self.meet('after_fit', (trainer.stage, trainer.level))
    def meet(self, hook, at):
        if (hook, at)==(self.hook, self.at): raise RuntimeError('power cut')

class Often(Run):
    def after_epoch(self, trainer): self.last_save = -1e9; super().after_epoch(trainer)

def learn(file, callbacks, cls=Often, **options):
    rng = np.random.default_rng(3)
    X = torch.from_numpy(rng.normal(size=(260, 2, 4, 8)))
    y = X.mean((1,2,3))[:,None]*9; d = FieldDesign(X, Grid((4,8)))
    r = cls(Samples(d.take(range(200)), y[:200]), Samples(d.take(range(200, 260)), y[200:]),
            levels=make_levels(d.modes, [(2,4),(4,8)], 2), rank=2, lr=.1, max_epochs=5, batch_size=64,
            dtype='float64', checkpoint=file, callbacks=callbacks, **options)
    low = r.fit(); return low.state_dict(),[h['valid_loss'] for h in r.history]

def plain(v):
    return {k: plain(w) for k,w in v.items()} if isinstance(v, dict) else [plain(w) for w in v] if isinstance(v,
            list) else (str(v.dtype), v.tolist()) if hasattr(v, 'dtype') else v

CUTS = [(('full','2x4',0),'after_epoch'), (('full','2x4',2),'after_epoch'), (('full','2x4',3),'after_epoch'),
        (('full','2x4'),'after_fit'), (('full','4x8'),'before_fit'), (('full','4x8',1),'after_epoch'),
        (('full','4x8',4),'after_epoch'),
    (('full','4x8'),'after_fit'), (('low','4x8'),'before_fit'), (('low','4x8',0),'after_epoch'),
    (('low','4x8',3),'after_epoch'), (('low','4x8'),'after_fit')]

@pytest.mark.parametrize('where', [0, 2], ids=['cut first', 'cut last'])
@pytest.mark.parametrize('at,hook', CUTS, ids=[f'{h} of {" ".join(map(str, a))}' for a,h in CUTS])
def test_callbacks_end_as_in_an_undisturbed_run(tmp_path, at, hook, where):
    "Their state, the rates that they set, and the model have the same bits."
    whole = [Levels(), Halve()]
    want = learn(tmp_path/'w', whole); mine = [Levels(), Halve()]
    mine.insert(where, Cut(at, hook))
    with pytest.raises(RuntimeError): learn(tmp_path/'c', mine)
    again = [Levels(), Halve()]; got = learn(tmp_path/'c', again)
    assert (got[1]==want[1] and all(torch.equal(got[0][k], want[0][k]) for k in want[0])
            and plain(vars(again[0]))==plain(vars(whole[0])) and not os.listdir(tmp_path))

class Odd(Callback):
    def __init__(self, value=None): self.value = value
    def state_dict(self): return dict(value=self.value)
    def load_state_dict(self, state): self.value = state['value']

@pytest.mark.parametrize('value', [None, True, 3, .1, 'a', [1, [2]], {'a': {'b': 1}},
                                   torch.ones(2, dtype=torch.int8), [torch.tensor(1.), np.arange(3)],
                                   np.zeros((0,2)), {'tensor': 'x'}, {'dict': {}}, float('inf'), 2**70], ids=str)
def test_what_a_state_may_hold(tmp_path, value):
    cut = Cut(('low','4x8',1),'after_epoch')
    with pytest.raises(RuntimeError): learn(tmp_path/'c', [Odd(value), cut])
    learn(tmp_path/'c', [again := Odd()]); assert plain([again.value])==plain([value])

@pytest.mark.parametrize('value', [{1: 2}, {1}, object(), len, b'x', np.array(['a']), np.datetime64('2000'),
                                   [{'a': Path('x')}]], ids=lambda v: type(v).__name__)
def test_what_a_state_cannot_hold_is_named(tmp_path, value):
    with pytest.raises(ConfigError, match=r'the state callback.Odd 0.value.* is a \w+, which a checkpoint cannot hold'):
        learn(tmp_path/'c', [Odd(value)])

@pytest.mark.parametrize('first,then,says',
                         [([Levels()], [], 'holds the states of the callbacks Levels 0, and those given are none'),
                          ([], [Levels()], 'callbacks none, and those given are Levels 0'),
                          ([Levels()], [Odd()], 'Levels 0, and those given are Odd 0'),
                          ([Odd(), Odd()], [Odd()], 'Odd 0, Odd 1')])
def test_other_callbacks_than_the_checkpoints_are_refused(tmp_path, first, then, says):
    for at in (('full','2x4',2), ('low','4x8')):
        cut = Cut(at, 'after_epoch' if len(at)>2 else 'before_fit')
        with pytest.raises(RuntimeError): learn(tmp_path/at[0], [*first, cut])
        with pytest.raises(ConfigError, match=says): learn(tmp_path/at[0], then)

# ---- a search that was killed

def test_a_killed_search_draws_the_same(tmp_path):
    "At any step of a draw; the journal's own lock and half a line are left behind, too."
    optuna = pytest.importorskip('optuna')
    from mrtl.lab.search import _ask, open_study, read_search, search_options
    from mrtl.lab.trials import TrialResult
    job = dict(problem='ocean', methods=['random'], quick=True, n=3, run=lambda p, t, found,
               **kw: TrialResult([dict(stage='low', valid_loss=found['random'].get('lr', .5))], [], {}))
    want = search_options(tmp_path/'whole', **job)
    whole = read_search(tmp_path/'whole')
    dead = f'{socket.gethostname()}:{DEAD}'
    def asked(out): open_study(out, 'ocean random').ask()
    def named(out): open_study(out, 'ocean random').ask().set_user_attr('worker', dead)
    def begun(out): t,_ = _ask(out, open_study(out, 'ocean random'), 9); t.set_user_attr('worker', dead)
    def tried(out):
        begun(out)
        s = open_study(out, 'ocean random')
        s._storage.set_trial_user_attr(s.get_trials()[-1]._trial_id, 'rows', [dict(stage='low', valid_loss=0.)])
    def cut(out): (out/'search.log').open('ab').write(b'{"op_code": 4, "wor'); (out/'search.log.lock0.rename').touch()
    for i,(done,happens) in enumerate([(d, h) for d in (0, 1, 2)
                                       for h in ([asked], [named], [begun], [tried], [asked, begun],
                                                 [cut], [begun, cut])]):
        out = tmp_path/str(i); out.mkdir()
        if done: search_options(out, **job|dict(n=done))
        for h in happens: h(out)
        assert search_options(out, **job)==want
        pd.testing.assert_frame_equal(read_search(out), whole)
        assert names(out)==['options.json','search.csv','search.log']

def test_a_journals_lock_that_was_left(tmp_path, monkeypatch):
    "The path of its link is absolute: optuna waits for ever for a link that points nowhere."
    pytest.importorskip('optuna')
    from mrtl.lab.search import _journal
    monkeypatch.chdir(tmp_path); assert os.path.isabs(_journal('found')._backend._lock._lock_target_file)

def test_overwrite_waits_for_who_searches(tmp_path, capsys):
    pytest.importorskip('optuna')
    from mrtl.lab.search import open_study
    open_study(tmp_path/'s', 'ocean random').ask().set_user_attr('worker', 'node-7:12')
    assert (main(['search','--quick','--problem','ocean','--out',str(tmp_path/'s'),'--overwrite'])==2
            and 'in use by node-7:12' in capsys.readouterr().err)

# ---- disks that say no

TOO_LARGE = '''
import os, resource, sys
import numpy as np, pandas as pd, torch, xarray as xr
from pathlib import Path
from mrtl.core import write_csv, write_json, atomic_write
from mrtl.store import save_tensors
from mrtl.runs import write_netcdf
def netcdf(path, ds):
    with atomic_write(path) as tmp: write_netcdf(tmp, ds)
big = np.random.default_rng(0).normal(size=(400, 400)); ds = xr.Dataset(dict(a=(('x','y'), big)))
WAYS = {'t.mrtl': lambda f: save_tensors(f, dict(a=torch.from_numpy(big)), {}), 't.csv': lambda f: write_csv(f, pd.DataFrame(big)), 't.json': lambda f: write_json(f, big.tolist()),
    't.nc': lambda f: netcdf(f, ds), 'groups.nc': lambda f: netcdf(f, {'a:b': ds, 'c': ds}), 'half.nc': lambda f: netcdf(f, {'a': ds}), 'small.json': lambda f: write_json(f, [1]*9000), 'text.csv': lambda f: write_csv(f, pd.DataFrame(dict(a=['x'*99]*2000)))}
folder = Path(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
for name,write in WAYS.items():
    (folder/name).write_text('before')
    try: write(folder/name); print(name, 'was written')
    except OSError as e: print(name, 'named' if str(e.filename)==str(folder/name) else f'{e.filename}', (folder/name).read_text())
print(sorted(os.listdir(folder))==sorted(WAYS))
'''

def test_a_disk_without_room_is_named_and_leaves_the_old_file(tmp_path):
    "Every writer, at a limit of the operating system on the size of files."
    said = subprocess.run([sys.executable, '-c', TOO_LARGE, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    lines = said.stdout.splitlines()
    assert len(lines)==9 and lines[-1]=='True' and all(l.endswith(' named before')
            for l in lines[:-1]), said.stdout+said.stderr

NO = [(errno.ENOSPC, 'make room'), (errno.EDQUOT, 'make room'), (errno.EFBIG, 'ulimit'),
      (errno.EROFS, 'permissions'), (errno.EIO, 'check the path'), (errno.EACCES, 'permissions')]

@pytest.mark.parametrize('number,says', NO, ids=[errno.errorcode[n] for n,_ in NO])
def test_an_error_of_the_disk_names_the_file_and_what_to_do(tmp_path, monkeypatch, capsys, number, says):
    def no(fd): raise OSError(number, os.strerror(number))
    monkeypatch.setattr(core.os, 'fsync', no); assert main(['demo','--out',str(tmp_path/'run')])==2
    err = capsys.readouterr().err
    assert (err.startswith('mrtl: ') and str(tmp_path/'run'/'config.json') in err and says in err
            and names(tmp_path/'run')==[])

PLACES = [('a file', lambda d: (d/'x').write_text(''), 'x', 'is a file: name a folder'),
          ('under a file', lambda d: (d/'x').write_text(''), 'x/run', 'check the path'),
          ('a link to nowhere', lambda d: (d/'x').symlink_to(d/'nowhere'), 'x', 'is a file: name a folder'),
    ('a loop of links', lambda d: (d/'x').symlink_to(d/'x'), 'x', 'x'),
    ('a folder that takes no files', lambda d: None, '/proc/self', 'cannot be used|check the path'),
    ('a folder that cannot be made', lambda d: None, '/proc/self/run', 'check the path'),
    ('a name that is too long', lambda d: None, 'x'*300, 'check the path'),
    ('a pipe', lambda d: os.mkfifo(d/'x'), 'x', 'is a file: name a folder')]

@pytest.mark.parametrize('what,make,name,says', PLACES, ids=[r[0] for r in PLACES])
def test_places_that_are_no_folder(tmp_path, capsys, what, make, name, says):
    make(tmp_path)
    assert main(['demo','--out',str(tmp_path/name)])==2
    err = capsys.readouterr().err
    assert re.search(says, err) and err.startswith('mrtl: ') and 'Traceback' not in err

def test_a_folder_on_another_disk(tmp_path):
    if not os.path.isdir('/dev/shm') or os.stat('/dev/shm').st_dev==os.stat(tmp_path).st_dev:
        pytest.skip('there is one disk')
    far = Path('/dev/shm')/f'mrtl-{os.getpid()}'; far.mkdir()
    try:
        (tmp_path/'run').symlink_to(far)
        assert run(tmp_path/'run', False) and not run(tmp_path/'run') and (far/SEAL).exists()
    finally: shutil.rmtree(far)

def test_a_folder_in_a_files_place_is_named(folder, capsys):
    (folder/'factors.nc').unlink(); (folder/'factors.nc').mkdir()
    with pytest.raises(OSError) as e: run(folder)
    assert e.value.filename==str(folder/'factors.nc')

# ---- the tool

def test_kill_and_resume(tmp_path):
    "Two trials of a short command; the second call has nothing to do."
    words = [sys.executable, str(ROOT/'tools'/'kill_and_resume.py'), str(tmp_path), '--only', 'maps', '--trials', '2']
    for _ in range(2):
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT,
                              env=os.environ|dict(PYTHONPATH=str(ROOT)))
        assert done.returncode==0 and '2 of 2 trials identical' in done.stdout, done.stdout+done.stderr
    assert 'maps 0' not in done.stdout
