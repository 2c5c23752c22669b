"""Several processes by torchrun on this machine: the same losses as one, one writer, and what happens when one is lost."""
import os, shutil, subprocess, sys, time
from pathlib import Path
import pytest
import torch
from mrtl import parallel
from mrtl.core import ConfigError, DataError
from mrtl.training import load_tensors
import parallel_runs

SCRIPT = Path(__file__).with_name('parallel_runs.py')

def torchrun(n, folder, *what, **env):
    "Run the script in n processes; the finished torchrun, and how long it took."
    start,env = time.monotonic(),os.environ|dict(OMP_NUM_THREADS='1', PYTHONPATH=str(SCRIPT.parent.parent))|env
    done = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', str(n), '--shutdown-timeout', '2', SCRIPT, folder, *what], env=env, capture_output=True, text=True, timeout=120)
    return done,time.monotonic()-start

def said(done):
    "What mrtl said, without what torchrun said."
    return [l for l in done.stderr.splitlines() if l.startswith('mrtl: ')]

def close(a, b, tol=1e-9):
    "The same nested dicts, numbers up to rounding."
    if isinstance(a, dict): return a.keys()==b.keys() and all(close(a[k], b[k], tol) for k in a)
    if isinstance(a, list): return len(a)==len(b) and all(close(x, y, tol) for x,y in zip(a, b))
    return a==pytest.approx(b, rel=tol, abs=1e-12, nan_ok=True) if isinstance(a, float) else a==b

@pytest.fixture(scope='module')
def single():
    "Every case in one process, once."
    made = {}
    def get(name):
        if name not in made: made[name] = parallel_runs.fit(parallel_runs.CASES[name]())
        return made[name]
    return get

@pytest.fixture(scope='module')
def several(tmp_path_factory):
    "The folder of what the cases leave in n processes, run once."
    made = {}
    def get(n, names):
        if n not in made:
            made[n] = tmp_path_factory.mktemp(f'by_{n}'); done,_ = torchrun(n, made[n], *names)
            assert done.returncode==0, done.stderr
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
            assert all(torch.equal(v, found[0][0][k]) for k,v in tensors.items()), f'{name}: models differ between processes'
            assert all(torch.allclose(v, model[k], rtol=1e-7, atol=1e-9) for k,v in tensors.items()), f'{name}: another model than in one process'

def test_a_script_of_ones_own(tmp_path):
    done,_ = torchrun(2, tmp_path, 'alike')
    assert done.returncode==0, done.stderr
    (a,info),(b,_),(c,told),(d,_) = (load_tensors(tmp_path/f) for f in ('own.0','own.1','apart.0','apart.1'))
    assert all(torch.equal(a[k], b[k]) for k in a), 'an unseeded fit must use one seed'
    assert not all(torch.equal(c[k], d[k]) for k in c), 'alone, each process fits its own'
    assert info['files']==['own.mrtl'] and 'process 1 of 2 has other data or settings' in told['said']

def test_a_killed_worker_and_resuming(tmp_path, single, several):
    done,seconds = torchrun(2, tmp_path, 'cut', 'kill')
    assert done.returncode!=0 and seconds<60
    assert len(said(done))==1 and 'process 1 of 2 was lost' in said(done)[0] and '--resume' in said(done)[0] and 'mrtl/training.py' not in done.stderr
    shutil.copy(tmp_path/'c.mrtl', tmp_path/'copy')
    done,_ = torchrun(2, tmp_path, 'cut', 'kill')
    assert done.returncode==0, done.stderr
    info,model = single('shots'); (a,meta),(b,_) = (load_tensors(f) for f in (tmp_path/'cut.0', several(*TWO)/'shots.0')); del meta['world']
    assert all(torch.equal(a[k], b[k]) for k in a), 'resumed, the model has other bits than undisturbed'
    assert close(meta, info) and not (tmp_path/'c.mrtl').exists()
    run = parallel_runs.shots(checkpoint=tmp_path/'copy'); alone,one = parallel_runs.fit(run) # two processes wrote it, one goes on
    assert run.before>0 and close(alone, info) and all(torch.allclose(one[k], model[k], rtol=1e-7, atol=1e-9) for k in one)

def test_one_begins_and_two_go_on(tmp_path, single):
    run = parallel_runs.shots(checkpoint=tmp_path/'c.mrtl'); run.callbacks = (parallel_runs.Often(run, 'fail', tmp_path),)
    with pytest.raises(DataError): run.fit()
    done,_ = torchrun(2, tmp_path, 'cut', 'nothing'); info,_ = single('shots')
    assert done.returncode==0, done.stderr
    meta = load_tensors(tmp_path/'cut.1')[1]; assert meta.pop('world')==2 and close(meta, info)

@pytest.mark.parametrize('what,told', [('stall','process 1 of 2 was lost'), ('fail','bad rows in the last process'), ('part','process 1 of 2 has other parameters after epoch 2 of low 4x5, 6x6')])
def test_other_ends(what, told, tmp_path):
    done,seconds = torchrun(2, tmp_path, 'cut', what, MRTL_TIMEOUT='4')
    assert done.returncode!=0 and seconds<60 and len(said(done))==1 and told in said(done)[0], done.stderr
    assert (tmp_path/'c.mrtl').exists()

def test_one_interrupt_stops_all_and_saves(tmp_path):
    done,_ = torchrun(2, tmp_path, 'cut', 'interrupt')
    assert done.returncode!=0 and len(said(done))==1 and 'interrupted: stopped at low 4x5, 6x6, epoch 1; the state is in' in said(done)[0] and 'exitcode  : 130' in done.stderr
    assert load_tensors(tmp_path/'c.mrtl')[1]['trainer']['epoch']==1

def test_a_refused_folder_is_told_once(tmp_path):
    (tmp_path/'mine.txt').write_text('a letter')
    done,seconds = torchrun(2, tmp_path, 'refuse')
    assert done.returncode!=0 and seconds<60 and len(said(done))==1 and 'holds no run of mrtl' in said(done)[0] and 'exitcode  : 2' in done.stderr
    assert [p.name for p in tmp_path.iterdir()]==['mine.txt'] and not done.stdout

def test_nothing_happens_without_torchrun(monkeypatch):
    for k in ('RANK','WORLD_SIZE','MASTER_ADDR','MASTER_PORT'): monkeypatch.delenv(k, raising=False)
    parallel.start(); assert parallel.world()==1 and not torch.distributed.is_initialized()
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
    monkeypatch.setattr(parallel._Group, 'world', 3); monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2); chosen = []; monkeypatch.setattr(torch.cuda, 'set_device', chosen.append)
    for local in '01':
        monkeypatch.setenv('LOCAL_RANK', local); assert parallel.own_device(torch.device('cuda'))==torch.device('cuda', int(local))
    assert chosen==[0, 1] and parallel.own_device(torch.device('cpu'))==torch.device('cpu') and parallel.own_device(torch.device('cuda:0'))==torch.device('cuda:0')
    monkeypatch.setenv('LOCAL_RANK', '2')
    with pytest.raises(ConfigError, match='as many processes as GPUs'): parallel.own_device(torch.device('cuda'))
