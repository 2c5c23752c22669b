"""Shared by all tests: one torch thread a worker, the repository's root, a copy of it to work in, and the real data."""
import os
os.environ.setdefault('OMP_NUM_THREADS', '1')  # before anything imports torch: two workers on two cores

import gc, shutil, socket, subprocess, sys
from pathlib import Path
import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ['nbs', 'mrtl', 'pyproject.toml', 'settings.ini', '_quarto.yml', 'README.md', 'LICENSE', 'CHANGELOG.md']

def pytest_configure(config):
    """No test reaches beyond this machine: names of other hosts are not looked up, and their addresses are not
    connected to."""
    def local(host):
        return host is None or str(host).startswith('127.') or host in ('localhost', '::1', '',
                '0.0.0.0', socket.gethostname())
    def guarded(f, where):
        def checked(*args, **kwargs):
            if not local(host := where(*args)):
                raise RuntimeError(f'a test wants to reach {host}: tests do without the network')
            return f(*args, **kwargs)
        return checked
    address = lambda self, to, *_: to[0] if self.family in (socket.AF_INET, socket.AF_INET6) else None
    for k in 'connect', 'connect_ex': setattr(socket.socket, k, guarded(getattr(socket.socket, k), address))
    socket.getaddrinfo = guarded(socket.getaddrinfo, lambda host,
                                 *_: host.decode() if isinstance(host, bytes) else host)

def pytest_collection_modifyitems(items):
    "Notebooks, which take seconds each, run first: where the last tests are short, no worker waits long for another."
    items.sort(key=lambda item: 'test_notebooks.py' not in item.nodeid)

def pytest_collection_finish():
    """What imports and ten thousand collected tests hold stays to the end: the garbage collector need not walk
    through it again and again."""
    gc.collect(); gc.freeze()

@pytest.fixture(scope='session')
def root():
    "The top of the repository."
    return ROOT

@pytest.fixture
def data():
    "Give the path of a file of the real data, or skip the test and say which file is missing."
    folder = Path(os.environ.get('MRTL_DATA') or ROOT.parent/'shared'/'data')
    def find(name):
        if (folder/name).exists(): return folder/name
        pytest.skip(f'no {name} under MRTL_DATA')
    return find

@pytest.fixture
def no_pictures(monkeypatch):
    "No report, which takes seconds: for tests of what is not about it."
    for module in 'mrtl.runs', 'mrtl.climate.model':
        monkeypatch.setattr(f'{module}.report_run', lambda run, figures=None: None)

def copy_sources(dest):
    "The sources as they stand, in a fresh folder."
    dest.mkdir(parents=True)
    for name in SOURCES:
        if (ROOT/name).is_dir():
            shutil.copytree(ROOT/name, dest/name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__', '.*'))
        elif (ROOT/name).exists(): shutil.copy2(ROOT/name, dest/name)
    return dest

@pytest.fixture(scope='session')
def once(tmp_path_factory, worker_id):
    """Make something in a folder, once for all xdist workers: `once(name, make)` calls `make(folder)` unless
    another worker did."""
    base = tmp_path_factory.getbasetemp() if worker_id == 'master' else tmp_path_factory.getbasetemp().parent
    def run(name, make):
        with FileLock(base/f'{name}.lock'):
            if not (base/name/'made').exists():
                shutil.rmtree(base/name, ignore_errors=True)
                (base/name).mkdir()
                make(base/name)
                (base/name/'made').touch()
        return base/name
    return run

@pytest.fixture
def python():
    "Run Python code in a fresh process and give what it prints."
    def run(code, **env):
        done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                              cwd=ROOT, env=os.environ | env)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
    return run

@pytest.fixture(scope='session')
def demo_run(once):
    "The folder of a finished demo of 300 months; copy it to change it."
    def make(folder):
        from mrtl.cli import main
        assert main(['demo', '--out', str(folder/'run'), '--n', '300'])==0
    return once('demo', make)/'run'
