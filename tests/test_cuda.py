"""A GPU learns what the CPU learns: whole runs on both, events and fields, and the same bits when run twice.
MRTL_TEST_DEVICE=cpu runs the comparison of the CPU with itself, which checks the tests."""
import os
import pandas as pd
import pytest
import torch
from mrtl.events import EventDesign
from mrtl.designs import FieldDesign, Mode
from mrtl.criteria import CRITERIA
from mrtl.decompose import factor_match
from mrtl.grids import Grid
from mrtl.multiresolution import Run, make_levels
from mrtl.samples import Samples

DEVICE = os.environ.get('MRTL_TEST_DEVICE', 'cuda')
pytestmark = [pytest.mark.cuda,
              pytest.mark.skipif(DEVICE=='cuda' and not torch.cuda.is_available(), reason='needs a GPU')]

def events(n=2400, seed=0):
    """Players, a court and a bag of neighbours, two of three of whom may be missing; labels from a planted low-rank
    truth."""
    g = torch.Generator().manual_seed(seed); court,zone = Grid((8,10)),Grid((6,6))
    modes = [Mode('player', 12, indexed=True),Mode('court', court.D, court, True),Mode('defender', zone.D, zone, True)]
    idx = dict(player=torch.randint(12, (n,1), generator=g), court=torch.randint(court.D, (n,1), generator=g),
               defender=torch.randint(-1, zone.D, (n,3), generator=g))
    A,B,C = (torch.randn(m.size, 2, generator=g) for m in modes)
    bag = (C[idx['defender'].clamp(min=0)]*(idx['defender']>=0)[...,None]).sum(1)
    score = (A[idx['player'][:,0]]*B[idx['court'][:,0]]*bag).sum(1)
    return EventDesign(idx, modes),(torch.rand(n, generator=g)<torch.sigmoid(score)).double()[:,None]

def fields(n=600, seed=0):
    "Monthly fields with land, looked at over three leads; two outputs, of which some are missing."
    g = torch.Generator().manual_seed(seed); mask = torch.ones(8, 12, dtype=torch.bool); mask[:3,:4] = False
    design = FieldDesign(torch.randn(n, 2, 8, 12, generator=g, dtype=torch.float64),
                         Grid((8,12), (-30,30), (100,190), sphere=True, mask=mask), leads=3)
    W = torch.randn(3*2*96, 2, generator=g, dtype=torch.float64)
    y = design.batch().x.flatten(1)@W; y = y/y.std(0)+.3*torch.randn(y.shape, generator=g, dtype=torch.float64)
    y[::7,1] = float('nan')
    return design,y

def learn(device, make, loss, dtype, **options):
    design,y = make(); n = len(design); cut = int(.8*n); train,valid = torch.arange(cut),torch.arange(cut, n)
    shapes = [{'court': (4,5), 'defender': (3,3)},{'court': (8,10),
                                                   'defender': (6,6)}] if make is events else [(4,6),(8,12)]
    run = Run(Samples(design.take(train), y[train]), Samples(design.take(valid), y[valid]),
              levels=make_levels(design.modes, shapes, 1, outputs=y.shape[1]), rank=3, loss=loss,
        smooth=.02, l2=.01, lr=.02, max_epochs=12, batch_size=256, dtype=str(dtype).removeprefix('torch.'),
        device=device, **options)
    return run.fit().cpu(),pd.DataFrame(run.history)

@pytest.mark.parametrize('make,loss', [(events,'logistic'),(fields,'squared')])
@pytest.mark.parametrize('criterion', list(CRITERIA))
def test_same_losses_and_factors(make, loss, criterion):
    extra = dict(main_effects=True, nonnegative=('court',)) if make is events else {}
    (a,h),(b,k) = (learn(d, make, loss, torch.float64, criterion=criterion, **extra) for d in ('cpu',DEVICE))
    assert len(h)==len(k) and (h.level==k.level).all()
    for c in ('train_loss','valid_loss'): assert ((h[c]-k[c]).abs()<=1e-6*h[c].abs()).all()
    assert factor_match([f.detach() for f in a.factors], [f.detach() for f in b.factors])>.999

@pytest.mark.parametrize('make,loss', [(events,'logistic'),(fields,'squared')])
def test_same_bits_twice(make, loss):
    (a,h),(b,k) = (learn(DEVICE, make, loss, torch.float32) for _ in range(2))
    assert (all(torch.equal(p, q) for p,q in zip(a.parameters(), b.parameters()))
            and h.drop(columns='seconds').equals(k.drop(columns='seconds')))

def test_no_round_trip_inside_an_epoch():
    "Nothing waits for the device while batches go by: torch is told to refuse it."
    if DEVICE=='cpu': pytest.skip('the CPU has nowhere to go')
    from mrtl.models import LowRank
    from mrtl.samples import Data
    from mrtl.training import Objective, Trainer
    design,y = events(); data = Data(design, y, device='cuda'); model = LowRank(design.modes, 3).cuda()
    for p in model.parameters(): p.data.normal_()
    trainer = Trainer(model, data, objective=Objective(design.modes, 'logistic', smooth=.1, l2=.1), batch_size=256)
    trainer.epoch = 1; trainer._epoch()
    batch = model.prepare(data.design.batch()).part(slice(0, 256))
    torch.cuda.set_sync_debug_mode('error')
    try:
        with torch.no_grad(): trainer._gradient(batch, data.y[:256], data.e[:256]/256)
    finally: torch.cuda.set_sync_debug_mode('default')
