"""Every notebook runs from top to bottom, as `nbdev_test` runs it, with one line of pytest a notebook; a warning is
an error."""
import signal, warnings
import pytest
from nbdev.doclinks import nbglob
from nbdev.test import nb_test_cells, test_nb as run_notebook
from conftest import ROOT

SKIP = ['cuda', 'slow']
# warnings of torch about itself: NumPy 2's protocol, its own use of jit
THEIRS = '__array(_wrap)?__ ','.torch.jit.script. is deprecated'
TEXTS = 'changes','glossary','questions'  # pages to look things up, without code
NOTEBOOKS = sorted(nbglob(ROOT/'nbs', as_path=True))

@pytest.fixture(autouse=True)
def same_interrupt():
    "nbdev sets its own handler for Ctrl-C; give pytest's back."
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)

@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda p: p.relative_to(ROOT/'nbs').with_suffix('').as_posix())
def test_notebook(notebook, record_property):
    cells = [c for c in nb_test_cells(notebook, skip_flags=SKIP) if any(not l.startswith('#')
            for l in c.source.splitlines())]
    record_property('cells', len(cells))
    if notebook.stem in TEXTS: return
    assert cells, f'{notebook.name} has no cell that runs'
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for text in THEIRS: warnings.filterwarnings('ignore', message=text, category=DeprecationWarning)
        passed,_ = run_notebook(notebook, skip_flags=SKIP, basepath=ROOT)
    assert passed, f'{notebook.name} failed: the traceback is in the captured stderr'

def test_there_are_notebooks(): assert NOTEBOOKS
