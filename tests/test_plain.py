"The plain way against loops, against the package, and its refusals."
import itertools
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as logistic, softplus
from torch.utils.data import DataLoader
from mrtl.events import EventDesign
from mrtl.designs import Mode
from mrtl.core import ConfigError, DataError, generator
from mrtl.criteria import Criterion
from mrtl.finegrain import finegrain
from mrtl.grids import Grid
from mrtl.models import FullRank, LowRank
from mrtl.multiresolution import Run, make_levels
from mrtl.samples import Samples
from mrtl.lab.plain import PlainData, PlainFull, PlainLow, PlainTrainer, plain_copy, plain_factors, plain_finegrain, plain_kernel, plain_kernels, plain_penalty, plain_roughness, plain_run
from mrtl.samples import Data
from mrtl.training import Objective, Trainer

SHAPES = [((3,4), (2,2), 3), ((1,7), (3,2), 2), ((8,10), (6,6), 5), ((5,3), (1,1), 1)]

def problem(court, defender, players, n=60, bag=4, seed=0):
    "Random events; some bags are empty, some hold a cell twice."
    g = generator('plain', n, seed); D = defender[0]*defender[1]
    d = torch.randint(D, (n, bag), generator=g); d[torch.rand(n, bag, generator=g)<.4] = -1; d[0] = -1; d[1] = 0
    idx = dict(player=torch.randint(players, (n,), generator=g),
               court=torch.randint(court[0]*court[1], (n,), generator=g), defender=d)
    modes = [Mode('player', players, indexed=True)]+[Mode(k, s[0]*s[1], Grid(s), True)
            for k,s in (('court', court), ('defender', defender))]
    return EventDesign(idx, modes),(torch.rand(n, 1, generator=g)<.3).double()

def fill(model, seed=0):
    for i,p in enumerate(model.parameters()):
        p.data = torch.randn(p.shape, generator=generator('fill', seed, i), dtype=torch.float64).to(p)
    return model

def both(design, rank, seed=0):
    "A plain model and one of ours with the same weights."
    sizes = [m.size for m in design.modes]
    plain = fill(PlainFull(sizes, torch.float64) if rank is None else PlainLow(sizes, rank, torch.float64), seed)
    ours = FullRank(design.modes, dtype=torch.float64) if rank is None else LowRank(design.modes,
            rank, dtype=torch.float64)
    for p,q in zip(tensors(ours), tensors(plain)): p.data = q.data.clone()
    return plain,ours

def tensors(m):
    return [m.W, m.bias] if hasattr(m, 'W') else [*(m.factors if hasattr(m, 'factors') else (m.A, m.B, m.C)), m.bias]

@pytest.mark.parametrize('sigma', [.05, .4])
@pytest.mark.parametrize('rank', [None, 1, 5])
@pytest.mark.parametrize('court,defender,players', SHAPES)
def test_objective_and_gradients_are_ours(court, defender, players, rank, sigma):
    design,y = problem(court, defender, players)
    plain,ours = both(design, rank)
    rows = PlainData(design, y, torch.float64)
    J = logistic(plain(rows.player, rows.court, rows.defenders), rows.y)+plain_penalty(plain,
            plain_kernels(design.modes, sigma, torch.float64), .7, .3)
    data = Data(design, y, dtype=torch.float64); s = ours(data.design.batch())
    ours_J = (softplus(s)-data.y*s).mul(data.e).mean()+Objective(design.modes, 'logistic', smooth=.7,
            sigma=sigma, l2=.3).penalty(ours)
    J.backward(); ours_J.backward()
    assert J.item() == pytest.approx(ours_J.item(), rel=1e-10)
    for p,q in zip(tensors(plain), tensors(ours)): torch.testing.assert_close(p.grad, q.grad, rtol=1e-10, atol=1e-11)

@pytest.mark.parametrize('court,defender,players', SHAPES[:2])
def test_scores_are_the_loops(court, defender, players):
    design,y = problem(court, defender, players, n=20)
    plain,_ = both(design, 3)
    rows = PlainData(design, y, torch.float64)
    out = plain(rows.player, rows.court, rows.defenders)
    for i in range(20):
        bag = [d for d in design.idx['defender'][i].tolist() if d>=0]
        by_hand = plain.bias+sum((plain.A[rows.player[i]]*plain.B[rows.court[i]]*plain.C[d]).sum() for d in bag)
        assert out[i].item() == pytest.approx(by_hand.item(), abs=1e-12)

@pytest.mark.parametrize('shape', [(1,5), (3,4), (6,6)])
def test_roughness_is_the_loop(shape):
    g = Grid(shape, y=(0,2), x=(1,5))
    K = plain_kernel(g, .2, torch.float64)
    w = torch.randn(g.D, 3, generator=generator('w', g.D), dtype=torch.float64)
    yy,xx = torch.meshgrid(torch.as_tensor(g.y_centres), torch.as_tensor(g.x_centres), indexing='ij')
    at = torch.stack([yy.flatten(), xx.flatten()], 1)/g.diagonal
    loop = sum(torch.exp(-((at[i]-at[j])**2).sum()/(2*.04))*((w[i]-w[j])**2).sum()
               for i,j in itertools.product(range(g.D), repeat=2))/g.D**2
    assert plain_roughness(w, K).item() == pytest.approx(loop.item(), rel=1e-12)

def test_rows_are_collated_in_order():
    design,y = problem((3,4), (2,2), 3)
    rows = PlainData(design, y, torch.float64)
    got = [torch.cat(c) for c in zip(*DataLoader(rows, 7))]
    assert all(torch.equal(a, b) for a,b in zip(got, (rows.player, rows.court, rows.defenders, rows.y)))
    assert torch.equal(rows.defenders.sum(1),
                       (design.idx['defender']>=0).sum(1).double()) and rows.defenders[1].max()>=2

@pytest.mark.parametrize('rank', [None, 2])
@pytest.mark.parametrize('batch', [80, 33])
def test_training_takes_the_same_way(rank, batch):
    """The same epochs, losses and final weights; with one batch whatever the order of rows, with several in the
    order that both draw."""
    design,y = problem((3,4), (2,2), 3, n=120)
    a,b = design.take(torch.arange(80)),design.take(torch.arange(80, 120))
    plain,ours = both(a, rank)
    options = dict(lr=.05, lr_decay=.9, batch_size=batch, max_epochs=6, seed=3, stage='low', level='x')
    rule = lambda: Criterion('valid_loss', patience=2)
    p = PlainTrainer(plain, PlainData(a, y[:80], torch.float64), PlainData(b, y[80:], torch.float64), smooth=.5,
                     sigma=.3, l2=.1, criterion=rule(), **options).fit()
    o = Trainer(ours, Data(a, y[:80], dtype=torch.float64), Data(b, y[80:], dtype=torch.float64),
                objective=Objective(a.modes, 'logistic', smooth=.5, sigma=.3, l2=.1), criterion=rule(), **options).fit()
    assert len(p.history) == len(o.history)
    for k in ('train_loss', 'valid_loss'):
        assert [h[k] for h in p.history] == pytest.approx([h[k] for h in o.history], rel=1e-8)
    for s,t in zip(tensors(plain), tensors(ours)): torch.testing.assert_close(s, t, rtol=1e-6, atol=1e-8)

def test_objective_of_validation_holds_the_penalty():
    design,y = problem((3,4), (2,2), 3); plain,_ = both(design, 2); rows = PlainData(design, y, torch.float64)
    t = PlainTrainer(plain, rows, rows, smooth=.5, l2=.1, batch_size=7); loss,objective = t.evaluate(rows)
    assert objective-loss == pytest.approx(t.penalty().item(), rel=1e-9)
    assert loss == pytest.approx(logistic(plain(rows.player, rows.court, rows.defenders), rows.y).item(), rel=1e-9)

@pytest.mark.parametrize('lo,hi', [((2,3), (4,6)), ((2,3), (4,3)), ((8,10), (20,25)), ((3,3), (3,3))])
def test_copies_are_those_of_finegrain(lo, hi):
    W = torch.arange(lo[0]*lo[1], dtype=torch.float64)
    assert W[plain_copy(Grid(hi).coarsen(lo), Grid(hi))].tolist() == pytest.approx(finegrain(W.reshape(lo), hi,
            method='nearest').flatten().tolist())

@pytest.mark.parametrize('rank', [None, 2])
def test_finegraining_keeps_scores(rank):
    fine,y = problem((6,4), (4,4), 3); coarse = fine.at(dict(court=(3,2), defender=(2,4))); model,_ = both(coarse, rank)
    a,b = (PlainData(d, y, torch.float64) for d in (coarse, fine))
    new = plain_finegrain(model, coarse.modes, fine.modes)
    torch.testing.assert_close(new(b.player, b.court, b.defenders), model(a.player, a.court, a.defenders),
                               rtol=1e-12, atol=1e-12)

@pytest.mark.parametrize('rank', [2, 6])
def test_factors_of_a_low_rank_tensor(rank):
    design,_ = problem((3,4), (2,2), 5); low,_ = both(design, 2)
    full = PlainFull([5,12,4], torch.float64)
    full.W.data = torch.einsum('pk,ck,dk->pcd', low.A, low.B, low.C).detach()
    full.bias.data[:] = 2.
    found = plain_factors(full, rank); again = torch.einsum('pk,ck,dk->pcd', found.A, found.B, found.C)
    assert found.bias.item() == 2. and (again-full.W).norm()/full.W.norm() < .05

def test_run_is_ours_until_the_factors():
    design,y = problem((4,6), (4,4), 4, n=200); a,b = design.take(torch.arange(150)),design.take(torch.arange(150, 200))
    levels = make_levels(design.modes, [dict(court=(2,3), defender=(2,2)), dict(court=(4,6), defender=(4,4))],
                         full_levels=2)
    same = dict(levels=levels, rank=2, smooth=.1, l2=.01, lr=.05, max_epochs=3, batch_size=150)
    model,h = plain_run(a, y[:150], (b, y[150:]), dtype=torch.float64, **same)
    run = Run(Samples(a, y[:150]), Samples(b, y[150:]), loss='logistic', finegrain='nearest', dtype='float64', **same)
    run.fit()
    full = (h.stage=='full').values
    assert len(h) == len(run.history) and full.sum() == 8 and isinstance(model, PlainLow)
    assert h.valid_loss[full].tolist() == pytest.approx([r['valid_loss']
            for r in run.history if r['stage']=='full'], rel=1e-9)

def test_run_returns_the_best_low_rank_model():
    design,y = problem((4,6), (4,4), 4, n=200); a,b = design.take(torch.arange(150)),design.take(torch.arange(150, 200))
    levels = make_levels(design.modes, [dict(court=(2,3), defender=(2,2)), dict(court=(4,6), defender=(4,4))],
                         full_levels=1)
    model,h = plain_run(a, y[:150], (b, y[150:]), levels=levels, rank=2, lr=.1, max_epochs=4,
                        batch_size=30, dtype=torch.float64)
    rows = PlainData(b, y[150:], torch.float64)
    assert logistic(model(rows.player, rows.court, rows.defenders),
                    rows.y).item() == pytest.approx(h.valid_loss[h.stage=='low'].min(), rel=1e-9)

def test_nothing_to_factor():
    with pytest.raises(DataError, match='nothing to factor'): plain_factors(PlainFull([3,4,2]), 2)

def test_refusals():
    design,y = problem((3,4), (2,2), 3); (p,c,d) = design.modes; bag = dict(design.idx, court=design.idx['defender'])
    with pytest.raises(DataError, match='59 labels'): PlainData(design, y[1:])
    for other in (EventDesign({'player': design.idx['player']}, [p]), EventDesign(bag, [p, c, d]),
                  EventDesign({k: design.idx[k] for k in ('court', 'player', 'defender')}, [c, p, d]),
                  EventDesign(design.idx, [p, Mode('court', 12, Grid((3,4), mask=[[1,1,1,0]]*3), True), d])):
        with pytest.raises(ConfigError, match='three modes'): PlainData(other, y)
