"""Threads are held for the length of a fit and given back; the setting is stronger."""
import numpy as np, pytest, torch
from mrtl import parallel
from mrtl.estimators import MRTLRegressor
from mrtl.parallel import SMALL, hold_threads, work_threads
from mrtl.training import Callback

class Watch(Callback):
    def __init__(self): self.seen = set()
    def after_epoch(self, trainer): self.seen.add(torch.get_num_threads())

def data(n=60):
    rng = np.random.default_rng(0); X = rng.normal(size=(n, 4, 6))
    return X,X[:,1,2]+.1*rng.normal(size=n)

@pytest.fixture(autouse=True)
def three():
    "What torch had before: three threads."
    with hold_threads(3): yield

@pytest.fixture
def watch():
    w = Watch(); X,y = data()
    MRTLRegressor(rank=1, max_epochs=2, method='sgd').fit(X, y, callbacks=[w])
    return w

def test_small_fits_use_one_thread(watch): assert watch.seen == {1} and torch.get_num_threads() == 3

def test_the_setting_wins(monkeypatch):
    monkeypatch.setenv('MRTL_THREADS', '2'); w = Watch()
    MRTLRegressor(rank=1, max_epochs=2, method='sgd').fit(*data(), callbacks=[w])
    assert w.seen == {2} and torch.get_num_threads() == 3

def test_large_steps_keep_what_torch_had():
    with work_threads(SMALL): assert torch.get_num_threads() == 3
    with work_threads():
        assert torch.get_num_threads() == 1
        with work_threads(SMALL): assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 1

def test_evidence_and_predictions_are_held(monkeypatch):
    seen,real = [],torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, 'cholesky_ex', lambda *a,
                        **k: (seen.append(torch.get_num_threads()), real(*a, **k))[1])
    m = MRTLRegressor(rank=1, method='evidence').fit(*data()); assert set(seen) == {1}
    assert torch.get_num_threads() == 3
    monkeypatch.setattr(type(m.fitted_.scorer), 'forward', lambda self, b,
                        old=type(m.fitted_.scorer).forward: (seen.append(torch.get_num_threads()), old(self, b))[1])
    seen.clear(); m.predict(data()[0]); assert set(seen) == {1} and torch.get_num_threads() == 3

class Fails(Callback):
    def after_epoch(self, trainer): 1/0

def test_given_back_after_an_error():
    with pytest.raises(ZeroDivisionError): MRTLRegressor(rank=1, method='sgd').fit(*data(), callbacks=[Fails()])
    assert torch.get_num_threads() == 3 and parallel._before.threads is None

SIDE_BY_SIDE = """
import threading, torch
from threadpoolctl import threadpool_info
from mrtl.parallel import SMALL, work_threads
def pools(): return [p['num_threads'] for p in threadpool_info() if p['user_api']=='blas']
torch.set_num_threads(2); before = pools(); a_in,b_in,a_out = (threading.Event() for _ in range(3))
def first():
    with work_threads(): a_in.set(); b_in.wait(10)
    a_out.set()
def second():
    a_in.wait(10)
    with work_threads(): b_in.set(); a_out.wait(10)
both = [threading.Thread(target=f) for f in (first, second)]
for t in both: t.start()
for t in both: t.join()
with work_threads(): held = pools()
torch.set_num_threads(1)
with work_threads(SMALL): at = torch.get_num_threads()
print(before, held, pools(), at, sep='; ')
"""

def test_fits_side_by_side_give_back_what_was_there(python):
    "The first to enter leaves first: the pools of the process are restored by the last."
    before,held,after,torch_has = python(SIDE_BY_SIDE, OMP_NUM_THREADS='2').split('; ')
    assert before==after!=held and torch_has=='1'
