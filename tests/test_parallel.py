"""Several processes by torchrun on this machine: the same losses as one, one writer, and what happens when one is
lost."""
import json, os, shutil, subprocess, sys, time
from pathlib import Path
import pytest
import torch
from mrtl import parallel
from mrtl.core import ConfigError, DataError
from mrtl.decompose import cp_tensor
from mrtl.store import load_tensors
import parallel_runs

SCRIPT = Path(__file__).with_name('parallel_runs.py')

ENV = os.environ|dict(OMP_NUM_THREADS='1', PYTHONPATH=str(SCRIPT.parent.parent))

def torchrun(n, folder, *what):
    "Start the script by torchrun in n processes; what it did, what mrtl said, and the seconds that it took."
    start = time.monotonic()
    done = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node',
                           str(n), SCRIPT, folder, *what], env=ENV, capture_output=True, text=True, timeout=120)
    return done,said(done.stderr),time.monotonic()-start

def said(text): return [l for l in text.splitlines() if l.startswith('mrtl: ')]

@pytest.fixture(scope='module')
def forked(tmp_path_factory):
    "Run the script in n forked processes: exit codes, what mrtl said and all that was printed, and the seconds."
    server = subprocess.Popen([sys.executable, SCRIPT, 'serve'], env=ENV, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    logs = tmp_path_factory.mktemp('logs')
    def run(n, folder, *what, **env):
        start,log = time.monotonic(),logs/'log'
        server.stdin.write(json.dumps(dict(n=n, folder=str(folder), what=what, env=env, log=str(log)))+'\n')
        server.stdin.flush()
        codes = json.loads(server.stdout.readline())
        out,err = (''.join((logs/f'log.{r}.{k}').read_text() for r in range(n)) for k in ('out','err'))
        return codes,said(err),out+err,time.monotonic()-start
    yield run
    server.stdin.close(); server.wait(10)

def close(a, b, tol=1e-6): # the decomposition between the stages magnifies rounding a million times
    "The same nested dicts, numbers up to rounding."
    if isinstance(a, dict): return a.keys()==b.keys() and all(close(a[k], b[k], tol) for k in a)
    if isinstance(a, list): return len(a)==len(b) and all(close(x, y, tol) for x,y in zip(a, b))
    return a==pytest.approx(b, rel=tol, abs=1e-8, nan_ok=True) if isinstance(a, float) else a==b

def whole(model):
    "The weights that a model's factors stand for, whatever their signs, and the other parameters."
    k = sum(n.startswith('factors') for n in model); W = cp_tensor([model[f'factors.{i}'] for i in range(k)])
    return [W,*(v for n,v in sorted(model.items()) if not n.startswith('factors'))]

@pytest.fixture(scope='module')
def single():
    "Every case in one process, once."
    made = {}
    def get(name):
        if name not in made: made[name] = parallel_runs.fit(parallel_runs.CASES[name]())
        return made[name]
    return get

@pytest.fixture(scope='module')
def several(tmp_path_factory, forked):
    "The folder of what the cases leave in n processes, run once."
    made = {}
    def get(n, names):
        if n not in made:
            made[n] = tmp_path_factory.mktemp(f'by_{n}'); codes,_,printed,_ = forked(n, made[n], *names)
            assert codes==[0]*n, printed
        return made[n]
    return get

TWO,THREE = (2, list(parallel_runs.CASES)),(3, ['shots','rain','one'])

@pytest.mark.parametrize('n,names', [TWO, THREE])
def test_the_same_losses_as_one_process(n, names, single, several):
    folder = several(n, names)
    for name in names:
        info,model = single(name); found = [load_tensors(folder/f'{name}.{r}') for r in range(n)]
        for tensors,meta in found:
            assert meta.pop('world')==n and close(meta, info), f'{name}: other histories'
            assert all(torch.equal(v, found[0][0][k])
                       for k,v in tensors.items()), f'{name}: models differ between processes'
            assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-7)
                       for a,b in zip(whole(tensors), whole(model))), f'{name}: another model than in one process'

def test_a_script_of_ones_own(tmp_path):
    done,*_ = torchrun(2, tmp_path, 'alike')
    assert done.returncode==0, done.stderr
    (a,info),(b,_),(c,told),(d,_) = (load_tensors(tmp_path/f) for f in ('own.0','own.1','apart.0','apart.1'))
    assert all(torch.equal(a[k], b[k]) for k in a), 'an unseeded fit must use one seed'
    assert not all(torch.equal(c[k], d[k]) for k in c), 'alone, each process fits its own'
    assert info['files']==['own.mrtl'] and 'process 1 of 2 has other data or settings' in told['said']

def test_a_killed_worker_and_resuming(tmp_path, single, several, forked):
    done,told,seconds = torchrun(2, tmp_path, 'cut', 'busy')
    assert done.returncode!=0 and seconds<60
    assert (len(told)==1 and 'process 1 of 2 was lost' in told[0] and '--resume' in told[0]
            and 'mrtl/training.py' not in done.stderr)
    shutil.copy(tmp_path/'c.mrtl', tmp_path/'copy'); codes,_,printed,_ = forked(2, tmp_path, 'cut', 'busy')
    assert codes==[0, 0], printed
    info,model = single('shots')
    (a,meta),(b,_) = (load_tensors(f) for f in (tmp_path/'cut.0', several(*TWO)/'shots.0'))
    del meta['world']
    assert all(torch.equal(a[k], b[k]) for k in a), 'resumed, the model has other bits than undisturbed'
    assert close(meta, info) and not (tmp_path/'c.mrtl').exists()
    # two processes wrote it, one goes on
    run = parallel_runs.shots(checkpoint=tmp_path/'copy'); alone,one = parallel_runs.fit(run)
    assert run.before>0 and close(alone, info) and all(torch.allclose(one[k], model[k], rtol=1e-7,
            atol=1e-9) for k in one)

def test_one_begins_and_three_go_on(tmp_path, single, forked):
    run = parallel_runs.shots(checkpoint=tmp_path/'c.mrtl')
    run.callbacks = (parallel_runs.Often(run, 'fail', tmp_path),)
    with pytest.raises(DataError): run.fit()
    codes,_,printed,_ = forked(3, tmp_path, 'cut', 'nothing'); info,_ = single('shots')
    assert codes==[0]*3, printed
    meta = load_tensors(tmp_path/'cut.2')[1]; assert meta.pop('world')==3 and close(meta, info)

@pytest.mark.parametrize('what,words,codes', [
    ('kill', 'process 1 of 2 was lost', [2, -9]), ('stall', 'process 1 of 2 was lost', [2, None]),
    ('fail', 'bad rows in the last process', [2, 2]),
    ('part', 'process 1 of 2 has other parameters after epoch 2 of low 4x5, 6x6', [2, 2]),
    ('interrupt', 'interrupted: stopped at low 4x5, 6x6, epoch 1; the state is in', [130, 130])])
def test_other_ends(what, words, codes, tmp_path, forked):
    ended,told,printed,seconds = forked(2, tmp_path, 'cut', what, MRTL_TIMEOUT='4')
    assert all(a==b for a,b in zip(ended, codes)
               if b) and seconds<40 and len(told)==1 and words in told[0] and 'Traceback' not in printed, printed
    assert what!='interrupt' or load_tensors(tmp_path/'c.mrtl')[1]['trainer']['epoch']==1
    assert (tmp_path/'c.mrtl').exists()

def test_what_is_refused_is_told_once(tmp_path, forked):
    (tmp_path/'mine.txt').write_text('a letter')
    for what,words in ('refuse','holds no run of mrtl'),('typo',"there is no command 'dmeo'"):
        codes,told,printed,seconds = forked(2, tmp_path, what)
        assert codes==[2, 2] and seconds<40 and len(told)==1 and words in told[0] and printed.splitlines()==told
    assert [p.name for p in tmp_path.iterdir()]==['mine.txt']

def test_a_process_that_never_comes(monkeypatch, python):
    said = python("from mrtl import parallel\ntry: parallel.join_processes()\nexcept parallel.ParallelError "
                  "as e: print(e)", RANK='1', WORLD_SIZE='2', MASTER_ADDR='127.0.0.1',
                  MASTER_PORT='9', MRTL_TIMEOUT='1')
    assert said.startswith('process 1 of 2 did not meet the others at 127.0.0.1:9')

def test_nothing_happens_without_torchrun(monkeypatch):
    for k in ('RANK','WORLD_SIZE','MASTER_ADDR','MASTER_PORT'): monkeypatch.delenv(k, raising=False)
    parallel.join_processes(); assert parallel.process_count()==1 and not torch.distributed.is_initialized()
    monkeypatch.setenv('MRTL_TIMEOUT', 'long')
    with pytest.raises(ConfigError, match='MRTL_TIMEOUT'): parallel._seconds()

@pytest.mark.parametrize('n', [0, 1, 2, 7, 100])
@pytest.mark.parametrize('world', [1, 2, 3, 8])
def test_parts_cover_all_rows_once(n, world, monkeypatch):
    monkeypatch.setattr(parallel._Group, 'world', world); rows = []
    for r in range(world):
        monkeypatch.setattr(parallel._Group, 'rank', r); part = parallel.own_part(n)
        assert n//world<=part.stop-part.start<=-(-n//world); rows += range(n)[part]
    assert rows==list(range(n))

def test_each_process_has_its_own_gpu(monkeypatch):
    monkeypatch.setattr(parallel._Group, 'world', 3)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    chosen = []
    monkeypatch.setattr(torch.cuda, 'set_device', chosen.append)
    for local in '01':
        monkeypatch.setenv('LOCAL_RANK', local)
        assert parallel.own_device(torch.device('cuda'))==torch.device('cuda', int(local))
    assert (chosen==[0, 1] and parallel.own_device(torch.device('cpu'))==torch.device('cpu')
            and parallel.own_device(torch.device('cuda:0'))==torch.device('cuda:0'))
    monkeypatch.setenv('LOCAL_RANK', '2')
    with pytest.raises(ConfigError, match='as many processes as GPUs'): parallel.own_device(torch.device('cuda'))

def test_two_processes_search_together_and_go_on(root, tmp_path):
    "The search of the tutorial, as it stands there."
    pytest.importorskip('optuna')
    cells = [''.join(c['source']) for c in json.loads((root/'nbs/tutorials/more_machines.ipynb').read_text())['cells']]
    (tmp_path/'search.py').write_text(next(c for c in cells if 'optuna.create_study' in c))
    for trials,n in (5, 2),(8, 1): # five, and then one is started again for three more
        both = [subprocess.Popen([sys.executable, 'search.py'], cwd=tmp_path, env=ENV|dict(TRIALS=str(trials)),
                                 stderr=subprocess.PIPE, text=True) for _ in range(n)]
        said = [p.communicate(timeout=120)[1] for p in both]; assert [p.returncode for p in both]==[0]*n, said
        lines = [json.loads(l) for l in (tmp_path/'search.log').read_text().splitlines()]
        workers = {l['worker_id'] for l in lines}; done = [l for l in lines if l.get('state')==1]
        assert trials<=len(done)<=trials+1 and len({w.split('-')[0] for w in workers})>=2
        assert len({l['trial_id'] for l in done})==len(done), 'a trial was done twice'
