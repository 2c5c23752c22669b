"""The job of someone who has a plain shot chart: places, shooters, a distance, made or not, and no column about
defenders. From the table to a figure with the lines of a pitch of their own."""
import warnings
import numpy as np
import pandas as pd
import pytest
import torch
from mrtl.core import DataError
from mrtl.estimators import MRTLClassifier
from mrtl.events import EventDesign
from mrtl.grids import Grid
from mrtl.nodes import Nodes
from mrtl.plots import factor_maps

PITCH = Grid((10,17), y=(0,40), x=(0,68)) # half a football pitch, from the goal line and the left touchline, in metres
MODES = dict(shooter='shooter', place=('x','y'), distance='distance')
GRIDS = dict(place=PITCH, distance=Nodes([0,6,11,16,25,40,55]))

def chart(n=3000, seed=0):
    "Shots with thirty on the far edges; A to D score more often from the right, E to H from the left."
    r = np.random.default_rng(seed)
    t = pd.DataFrame(dict(shooter=r.choice(list('ABCDEFGH'), n), x=r.triangular(0, 34, 68, n),
                          y=r.triangular(0, 8, 40, n)))
    t.loc[:19, 'x'] = 68.; t.loc[20:29, 'y'] = 40.; t.loc[0, 'y'] = 40.
    t['distance'] = np.hypot(t.x-34, t.y); side = np.where(t.shooter<'E', 1, -1)
    return t.assign(goal=(r.random(n)<1/(1+np.exp(-.5+.08*t.distance-1.5*side*np.tanh((t.x-34)/10)))).astype(int))

@pytest.fixture(scope='module')
def shots(): return chart()

@pytest.mark.parametrize('lookup', ['cell','bilinear'])
def test_shots_from_the_far_edge_count(shots, lookup):
    d = EventDesign.from_table(shots, MODES, GRIDS, lookup=lookup, outside='clip')
    assert [m.name for m in d.modes]==list(MODES) and len(d)==len(shots) and d.modes[0].labels==list('ABCDEFGH')
    if lookup=='cell':
        with pytest.raises(DataError, match='30 of 3000 points lie outside'):
            EventDesign.from_table(shots, MODES, GRIDS)
        cell = d.idx['place'][:,0].numpy(); rows,cols = np.minimum(shots.y//4, 9),np.minimum(shots.x//4, 16)
        assert (cell==rows*17+cols).all() and cell[0]==169 and (cell[:20]%17==16).all() and (cell[20:30]//17==9).all()
    else:
        X = d.weights['place']; assert (abs(X.sum(1)-1)<1e-12).all() and X[[0]].indices.tolist()==[11*18-1]
        # nodes reach to the edge: nothing is outside
        plain = EventDesign.from_table(shots, MODES, GRIDS, lookup='bilinear')
        assert (plain.weights['place']!=X).nnz==0
        np.testing.assert_allclose(X@np.add.outer(3*np.linspace(0, 40, 11), np.linspace(0, 68, 18)).ravel(),
                                   3*shots.y+shots.x, atol=1e-10)

def test_a_shot_beyond_the_chart_is_clipped_or_refused(shots):
    own_half = shots.assign(y=shots.y.where(shots.index!=50, 61.))
    for lookup,n in (('cell', 31), ('bilinear', 1)):
        with pytest.raises(DataError, match=f'{n} of 3000 points lie outside'):
            EventDesign.from_table(own_half, MODES, GRIDS, lookup=lookup)
    at = EventDesign.from_table(own_half, MODES, GRIDS, lookup='bilinear',
                                outside='clip').weights['place'][[50]].toarray().reshape(11, 18)
    assert at[:10].sum()==0 and at[10].sum()==pytest.approx(1) and at[10]@np.linspace(0, 68,
            18)==pytest.approx(shots.x[50])

def test_the_distance_is_a_curve(shots):
    d = EventDesign.from_table(shots, MODES, GRIDS, outside='clip'); axis = GRIDS['distance'].axes[0]
    np.testing.assert_allclose(d.weights['distance']@axis, np.minimum(shots.distance, 55), atol=1e-12)
    assert list(d.idx)==['shooter','place'] and d.weights['distance'].getnnz(1).max()==2
    with warnings.catch_warnings(): # metres with decimals make nodes of their own, and nothing is said
        warnings.simplefilter('error'); own = EventDesign.from_table(shots, dict(distance='distance'))
    np.testing.assert_allclose(own.weights['distance']@own.modes[0].nodes.axes[0], shots.distance, atol=1e-10)
    with pytest.warns(UserWarning, match='whole numbers'):
        EventDesign.from_table(shots.assign(distance=shots.distance.round().astype(int)), dict(distance='distance'))

def test_shirt_numbers_are_names(shots):
    numbers = shots.assign(shooter=[ord(s) for s in shots.shooter])
    d,named = (EventDesign.from_table(t, MODES, GRIDS, dict(shooter=True), outside='clip') for t in (numbers, shots))
    assert torch.equal(d.idx['shooter'], named.idx['shooter']) and d.modes[0].labels==[ord(c) for c in 'ABCDEFGH']

def test_the_next_season_and_coarser_levels(shots):
    d = EventDesign.from_table(shots, MODES, GRIDS, lookup='bilinear')
    season = chart(200, seed=1).assign(shooter=lambda t: t.shooter.where(t.index!=7, 'new'))
    new = EventDesign.from_table(season, MODES, like=d, outside='clip')
    assert new.idx['shooter'][7]==-1 and [m.size for m in new.modes]==[m.size
            for m in d.modes] and new.modes[1].nodes is d.modes[1].nodes
    low = new.at(dict(place=(5,17), distance=3)); assert [m.shape for m in low.modes]==[(8,), (6,18), (4,)]
    direct = EventDesign.from_table(season, MODES,
                                    dict(place=Grid((5,17), y=(0,40), x=(0,68)), distance=Nodes([0,11,25,55])),
                                    dict(shooter=list('ABCDEFGH')), 'bilinear', 'clip')
    for k in ('place','distance'):
        np.testing.assert_allclose(low.weights[k].toarray(), direct.weights[k].toarray(), atol=1e-12)
    parts = EventDesign.from_chunks((season[i:i+64] for i in range(0, 200, 64)), MODES, like=d, outside='clip')
    assert all((parts.weights[k]!=new.weights[k]).nnz==0
               for k in parts.weights) and torch.equal(parts.idx['shooter'], new.idx['shooter'])

def test_the_maps_stand_on_a_pitch_of_ones_own(shots, tmp_path):
    cells = EventDesign.from_table(shots, dict(shooter='shooter', place=('x','y')), dict(place=PITCH), outside='clip')
    drawn = []
    m = MRTLClassifier(rank=1, main_effects=True, lr=.02, smooth=.1, l2=1e-4, schedule=[(5,9),(10,17)],
                       max_epochs=20, random_state=0).fit(cells, shots.goal.values)
    f = m.factors_
    side = np.sign(f.shooter_loading.values[:,0])
    right = f.place[...,0].values[:,9:].mean()-f.place[...,0].values[:,:8].mean()
    assert (side[:4]==side[0]).all() and (side[4:]==-side[0]).all() and np.sign(right)==side[0] # as planted
    def lines(ax): drawn.append(ax); ax.plot([13.84,13.84,54.16,54.16], [0,16.5,16.5,0], 'k')
    fig = factor_maps(f, draw=dict(place=lines)); fig.savefig(tmp_path/'shots.png'); assert len(drawn)==2
    for ax in drawn: assert len(ax.lines)==1 and ax.get_xlim()==(0,68) and ax.get_ylim()==(0,40)
    assert [ax.get_title('left') for ax in drawn][0]=='main effects' and (tmp_path/'shots.png').stat().st_size>5000
    near,far = (float(f.main_place[rows,6:11,0].mean()) for rows in (slice(0,3), slice(6,10))); assert near>far
