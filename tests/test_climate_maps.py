"""Grids of cases for `mrtl.climate.maps`: projections without a network, hatching, tiles inside their states,
colours by value, refusals."""
import builtins, socket, urllib.request
import numpy as np, pandas as pd, pytest, xarray as xr
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.path import Path
from mrtl import panels; from mrtl.climate import maps as cm
from mrtl.core import ConfigError, DataError

BOX = lambda x,y,w,h: np.array([[x, y], [x+w, y], [x+w, y+h], [x, y+h], [x, y]], float)
OUTLINES = dict(IA=[BOX(-96, 40.5, 6, 3)], IL=[BOX(-91, 37, 3.5, 5.5)], MN=[BOX(-97, 43.5, 7, 5)],
                MI=[BOX(-87, 42, 4.5, 4), BOX(-90, 46.2, 5, .6)], WY=[BOX(-111, 41, 7, 4)])

def field(lat, lon, seed=0):
    return xr.DataArray(np.random.default_rng(seed).normal(size=(len(lat), len(lon))), dict(lat=lat, lon=lon),
                        ('lat', 'lon'), 'f', dict(units='K'))

def make_boot(k=2, lat=np.arange(-15, 61, 10.), lon=np.arange(185, 360, 10.), outputs=('IA', 'IL', 'MI'), seed=0):
    r = np.random.default_rng(seed)
    shapes = dict(space=(('lat', 'lon'), (len(lat), len(lon))), lead_loading=(('lead',), (3,)),
                  output_loading=(('output',), (len(outputs),)))
    ds = xr.Dataset(coords=dict(lat=lat, lon=lon, lead=[1, 2, 3], output=list(outputs),
                                component=np.arange(1, k+1)), attrs=dict(level=.9))
    for n,(dims,shape) in shapes.items():
        v,half = r.normal(size=(*shape, k)),r.random((*shape, k))
        for suffix,a in (('', v), ('_lower', v-half), ('_upper', v+half), ('_agree', r.random((*shape, k)))):
            ds[n+suffix] = ((*dims, 'component'), a)
    for n in ('strength', 'strength_lower', 'strength_upper', 'stability'):
        ds[n] = ('component', np.sort(r.random(k))[::-1])
    return ds

@pytest.fixture
def no_network(monkeypatch):
    "Any attempt to connect or to fetch is an error."
    def refuse(*a, **kw): raise AssertionError('a figure asked for the network')
    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    monkeypatch.setattr(socket, 'create_connection', refuse)
    monkeypatch.setattr(urllib.request, 'urlopen', refuse)
    from cartopy import io
    monkeypatch.setattr(io, 'urlopen', refuse, raising=False); monkeypatch.setattr(io.Downloader, 'path', refuse)

def drawn(fig): return panels.png(fig)

# ---- projections

@pytest.mark.parametrize('name', ['plate', 'robinson', 'us'])
@pytest.mark.parametrize('hatched', [False, True])
def test_no_network_is_touched(no_network, name, hatched):
    da = field(np.arange(25.5, 50, 2), np.arange(-124.5, -66, 2))
    fig = cm.projected_map(da, name, hatch=(da > 1) if hatched else None); drawn(fig)
    drawn(cm.uncertain_maps(make_boot(1), 'robinson'))

@pytest.mark.parametrize('lon', [np.arange(182.5, 360, 5), np.arange(-177.5, 0, 5), np.arange(2.5, 360, 5),
                                 np.arange(-177.5, 180, 5), np.arange(100.5, 300, 5)])
@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('name', ['plate', 'robinson'])
def test_fields_fill_their_frame_in_any_longitudes(lon, flip, name):
    "One colour everywhere: between the edges of the map every pixel has it, and none lies outside."
    da = xr.full_like(field(np.arange(-17.5, 60, 5), lon), 1.); da = da[::-1] if flip else da
    crs,(w,e,s,n) = cm._onto(da, name); assert w < e and s < n and np.isfinite([w, e, s, n]).all()
    fig = cm.projected_map(da, name); ax = fig.axes[0]
    for c in list(ax.collections[1:])+list(ax.artists): c.remove()
    canvas = FigureCanvasAgg(fig); canvas.draw(); rgb = np.asarray(canvas.buffer_rgba())[..., :3]
    from cartopy.crs import PlateCarree
    lons,lats = np.meshgrid(np.linspace(lon[0], lon[-1], 9), np.linspace(-15, 55, 7))
    p = ax.projection.transform_points(PlateCarree(), lons.ravel(), lats.ravel())[:, :2]
    at = ax.transData.transform(p).astype(int); want = np.array(colormaps['RdBu_r'](1.)[:3])*255
    got = np.array([np.median(rgb[rgb.shape[0]-1-y-2:rgb.shape[0]-1-y+3, x-2:x+3].reshape(-1, 3), 0) for x,y in at])
    assert (np.abs(got-want).max(1) < 60).mean() > .95

def test_projected_colours_are_the_values():
    da = field(np.arange(-15, 61, 10.), np.arange(185, 360, 10.)); ax = cm.projected_map(da).axes[0]
    np.testing.assert_allclose(ax.collections[0].get_array().reshape(da.shape), da)
    low,high = ax.collections[0].get_clim()
    assert low == -high == -np.abs(da).max()

def test_projected_hatching_is_drawn_on_its_cells():
    da = field(np.arange(-15, 61, 10.), np.arange(185, 360, 10.))
    mask = xr.zeros_like(da, bool); mask[3:5, 4:8] = True
    pictures = []
    for hatch in (None, mask):
        fig = cm.projected_map(da, 'plate', hatch=hatch)
        canvas = FigureCanvasAgg(fig); canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba()).astype(int)[..., :3])
    ax,(rows,cols) = fig.axes[0],np.nonzero(np.abs(pictures[1]-pictures[0]).max(2) > 60); assert len(rows) > 100
    seen = ax.transData.inverted().transform(np.stack([cols+.5, len(pictures[0])-rows-.5], 1))+[180, 0]
    assert np.abs(np.stack([seen.min(0), seen.max(0)])-[[220, 10], [260, 30]]).max() < 1.5

def test_a_projection_of_cartopys_own():
    from cartopy import crs
    own = crs.Mollweide(200.)
    assert cm.projection(own) is own and cm.projection('plate').transform_point(180, 0,
            crs.PlateCarree())[0] == pytest.approx(0)
    drawn(cm.projected_map(field(np.arange(-15, 61, 10.), np.arange(185, 360, 10.)), own))

@pytest.mark.parametrize('call',
                         [lambda: cm.projection('us'), lambda: cm.projected_map(field(np.arange(3.),
        np.arange(4.))), lambda: cm.uncertain_maps(make_boot(), 'robinson'),
                          lambda: cm.response_map({'IA': 1.}, OUTLINES, name='us')])
def test_without_cartopy_the_extra_is_named(monkeypatch, call):
    real = builtins.__import__
    def fake(name, *a, **kw):
        if name.split('.')[0] == 'cartopy': raise ImportError(name)
        return real(name, *a, **kw)
    monkeypatch.setattr(builtins, '__import__', fake)
    with pytest.raises(ConfigError, match=r"mrtl\[maps\]"): call()
    drawn(cm.uncertain_maps(make_boot())); drawn(cm.response_map({'IA': 1.}, OUTLINES))

# ---- uncertainty

def test_unsure_is_an_interval_over_zero():
    boot = make_boot(); got = cm.unsure(boot)
    want = np.sign(boot.space_lower.values) != np.sign(boot.space_upper.values)
    np.testing.assert_array_equal(got, want); boot['space_lower'][0, 0], boot['space_upper'][0, 0] = np.nan, np.nan
    assert not cm.unsure(boot)[0, 0].any()
    with pytest.raises(DataError, match='court_lower'): cm.unsure(boot, 'court')

@pytest.mark.parametrize('k', [1, 2, 4])
@pytest.mark.parametrize('name', [None, 'robinson'])
@pytest.mark.parametrize('outputs', [('IA', 'IL', 'MI'), tuple(f'{i:02d}01' for i in range(1, 31))])
def test_rows_titles_and_whiskers(k, name, outputs):
    boot = make_boot(k, outputs=outputs); fig = cm.uncertain_maps(boot, name, title='a title'); drawn(fig)
    titles = [ax.get_title(loc='left') for ax in fig.axes if ax.get_title(loc='left')]
    assert titles == [f'component {i+1}, strength {boot.strength.values[i]:.3g} '
                      f'({boot.strength_lower.values[i]:.3g} to {boot.strength_upper.values[i]:.3g}), stability '
                      f'{boot.stability.values[i]:.2f}' for i in range(k)]
    notes = [ax.get_xlabel() for ax in fig.axes if ax.get_xlabel().endswith(' shown')]
    assert notes == (['10 of 30 outputs shown'] if len(outputs) == 30 else [])
    bars = [ax for ax in fig.axes if ax.patches and ax.get_xlabel() in ('', *notes)
            and len(ax.patches) in (3, min(10, len(outputs)))]
    assert len(bars) == 2*k
    lead = bars[:k] if len(bars[0].patches) == 3 and boot.lead_loading.shape[0] == 3 else bars[k:]
    for i,ax in enumerate(lead):
        ends = np.array(sorted(ax.collections[-1].get_segments(), key=lambda s: s[0][0]))
        np.testing.assert_allclose(ends[:, 0, 1], boot.lead_loading_lower[:, i])
        np.testing.assert_allclose(ends[:, 1, 1], boot.lead_loading_upper[:, i])
        low,high = ax.get_ylim(); assert low <= ends[:, 0, 1].min() and high >= ends[:, 1, 1].max()

def test_whiskers_stand_at_their_own_bars():
    boot = make_boot(1, outputs=tuple(f'{i:02d}01' for i in range(1, 31)))
    ax = panels.new_figure(2, 2).add_axes((.2, .2, .7, .7))
    part,lower,upper = (boot[f'output_loading{s}'][:, 0] for s in ('', '_lower', '_upper'))
    cm._bars(ax, part, lower, upper, 3.)
    np.testing.assert_allclose(sorted(abs(p.get_width()) for p in ax.patches), np.sort(np.abs(part.values))[-10:])
    for p,(a,b) in zip(sorted(ax.patches, key=lambda p: -p.get_y()), ax.collections[-1].get_segments()):
        i = int(np.abs(part.values-p.get_width()).argmin()); assert a[1] == pytest.approx(p.get_y()+p.get_height()/2)
        assert (a[0], b[0]) == (pytest.approx(lower.values[i]), pytest.approx(upper.values[i]))

@pytest.mark.parametrize('name', [None, 'plate'])
def test_layout_is_tidy(name):
    fig = cm.uncertain_maps(make_boot(3), name, title='a title')
    renderer = FigureCanvasAgg(fig).get_renderer()
    fig.draw_without_rendering()
    W,H = fig.get_size_inches()*fig.dpi
    boxes = [ax.get_tightbbox(renderer) for ax in fig.axes]+[t.get_window_extent(renderer) for t in fig.texts]
    for b in boxes: assert b.x0 >= -1 and b.y0 >= -1 and b.x1 <= W+1 and b.y1 <= H+1
    for i,a in enumerate(boxes):
        for b in boxes[:i]: assert min(a.x1, b.x1)-max(a.x0, b.x0) < 2 or min(a.y1, b.y1)-max(a.y0, b.y0) < 2

def test_hatching_is_drawn_where_unsure():
    boot = make_boot(1); boot['space_lower'][:], boot['space_upper'][:] = 1., 2.
    plain = drawn(cm.uncertain_maps(boot)); boot['space_lower'][2:4, 3:6] = -1.
    assert drawn(cm.uncertain_maps(boot)) != plain
    ax = [a for a in cm.uncertain_maps(boot).axes if a.get_title(loc='left')][0]
    assert any(c.hatches == ['////'] for c in ax.collections if hasattr(c, 'hatches'))

def test_factors_without_intervals_are_refused():
    with pytest.raises(DataError, match='no intervals'): cm.uncertain_maps(make_boot()[['space', 'strength']])
    with pytest.raises(DataError, match='latitude'): cm.uncertain_maps(make_boot().rename(lat='y', lon='x'), 'robinson')

# ---- places

def test_state_numbers_are_noaas(data):
    ds = xr.open_dataset(data('climate/nclimdiv_precip_1895_2022.nc'))
    for c,s in zip(ds.division.values, ds.state.values): assert cm.state_of(c) == s

test_state_numbers_are_noaas = pytest.mark.data(test_state_numbers_are_noaas)

@pytest.mark.parametrize('code', ['', 'XX', '0001', '4901', '0100', '123', '12345', 'ia', None])
def test_codes_that_are_none(code):
    with pytest.raises(DataError, match='neither a state'): cm.state_of(code)

def test_values_in_any_form():
    want = dict(IA=1., MI=-2.)
    for v in (want, pd.Series(want), xr.DataArray([1., -2.], dict(output=['IA', 'MI']), ('output',))):
        assert cm.by_place(v).to_dict() == want
    assert list(cm.by_place({201: 1}).index) == ['0201']
    with pytest.raises(DataError, match='more than one'): cm.by_place(pd.Series([1, 2], ['IA', 'IA']))
    with pytest.raises(DataError, match='names the places'): cm.by_place(xr.DataArray([1.], dims='output'))

@pytest.mark.parametrize('count', [1, 2, 3, 4, 7, 9, 10])
@pytest.mark.parametrize('ring', [BOX(0, 0, 10, 10), BOX(5, -3, 2, 9), BOX(-4, 2, 9, 1),
                                  np.array([[0, 0], [10, 0], [10, 2], [4, 9], [0, 2], [0, 0]], float),
                                  np.array([[0, 0], [9, 0], [9, 9], [6, 9], [6, 3], [0, 3], [0, 0]], float)])
def test_tiles_lie_inside_and_in_order(count, ring):
    codes = [f'13{i:02d}' for i in range(1, count+1)]; places = cm.tile_places(codes, ring); path = Path(ring)
    for c,(x,y,side) in places.items():
        assert side > 0 and path.contains_points([[x+a*side, y+b*side] for a in (.01, .99) for b in (.01, .99)]).all()
    for a in range(count):
        for b in range(a+1, count):
            (x,y,s),(u,v,_) = places[codes[a]],places[codes[b]]
            assert (v == pytest.approx(y) and u == pytest.approx(x+s*(b-a))) if a//3 == b//3 else v < y-s*.9

def test_given_divisions_keep_their_column():
    places = cm.tile_places(['1302', '1306'], BOX(0, 0, 9, 9)); (x,y,s),(u,v,_) = places['1302'],places['1306']
    assert u == pytest.approx(x+s) and v == pytest.approx(y-s)

def faces(ax): return {tuple(np.round(c.get_facecolor()[0], 6)) for c in ax.collections[1:]}
def colour(v, limit): return tuple(np.round(colormaps['RdBu_r']((v+limit)/(2*limit)), 6))

def test_colours_are_the_values_and_states_the_mean_of_their_divisions():
    values = {'1301': 1., '1302': -3., '4801': 2., 'IL': -1.}; ax = cm.response_map(values, OUTLINES).axes[0]
    assert faces(ax) == {colour(v, 3.) for v in (1, -3, -1, 2, -1)} and len(ax.collections) == 1+3+3
    assert np.allclose(colour(0, 3.)[:3], colormaps['RdBu_r'](.5)[:3])

def test_divisions_outlines_are_filled_instead_of_tiles():
    rings = {'1301': [BOX(-96, 40.5, 3, 3)], '1302': [BOX(-93, 40.5, 3, 3)]}
    fig = cm.response_map({'1301': 1., '1302': -1.}, OUTLINES, divisions=rings)
    assert len(fig.axes[0].collections) == 3 and faces(fig.axes[0]) == {colour(1, 1.),
            colour(-1, 1.)} and not any('schematic' in t.get_text() for t in fig.texts)
    with pytest.raises(DataError, match='1303'): cm.response_map({'1303': 1.}, OUTLINES, divisions=rings)

@pytest.mark.parametrize('name', [None, 'us'])
def test_tiles_say_that_they_are_schematic(name):
    fig = cm.response_map({'1301': 1., '1105': -1.}, OUTLINES, name=name); drawn(fig)
    assert any('schematic' in t.get_text() for t in fig.texts) and not any('schematic' in t.get_text()
            for t in cm.response_map({'IA': 1.}, OUTLINES, name=name).texts)

@pytest.mark.parametrize('k', [1, 2, 3, 5])
def test_one_map_a_component_on_one_scale(k):
    boot = make_boot(k); fig = cm.response_maps(boot, OUTLINES, title='t'); drawn(fig)
    assert (len(fig.axes) == k+1 and [a.get_title(loc='left') for a in fig.axes[:k]]
            == [f'component {i+1}, strength {boot.strength.values[i]:.3g}' for i in range(k)])
    limit = float(np.abs(boot.output_loading).max())
    for i in range(k): assert faces(fig.axes[i]) == {colour(v, limit) for v in boot.output_loading.values[:, i]}
    unsure = cm.unsure(boot, 'output_loading').values
    for i in range(k): assert sum(c.get_hatch() == '////' for c in fig.axes[i].collections) == unsure[:, i].sum()

def test_skill_is_counted_and_a_missing_value_is_grey():
    fig = cm.skill_map([.1, -.2, np.nan], ['IA', 'IL', 'MI'], OUTLINES)
    assert 'above zero in 1 of 3' in fig.axes[0].get_title(loc='left')
    assert (.8, .8, .8, 1.) in faces(fig.axes[0])
    with pytest.raises(DataError, match='2 scores for 1'): cm.skill_map([1, 2], ['IA'], OUTLINES)

def test_refusals():
    with pytest.raises(DataError, match='no outline of TX'): cm.response_map({'TX': 1.}, OUTLINES)
    with pytest.raises(DataError, match='output_loading'): cm.response_maps(make_boot()[['space']], OUTLINES)
    with pytest.raises(DataError, match='nothing to draw'): cm.response_map({'IA': np.nan}, OUTLINES)
    with pytest.raises(ConfigError, match='plate, robinson, us'): cm.response_map({'IA': 1.}, OUTLINES, name='moon')
    with pytest.raises(DataError, match='two dims'):
        cm.projected_map(field(np.arange(3.), np.arange(4.)).expand_dims(k=2))

# ---- colours

def test_distances_are_those_of_cielab():
    "White to black is 100; sRGB red has L 53.24, a 80.09, b 67.20 in the tables."
    np.testing.assert_allclose(cm._lab(np.array([[1., 1, 1], [0, 0, 0]])), [[100, 0, 0], [0, 0, 0]], atol=.05)
    np.testing.assert_allclose(cm._lab(np.array([[1., 0, 0]])), [[53.24, 80.09, 67.20]], atol=.05)

@pytest.mark.parametrize('sight', list(cm.SIGHT))
def test_greys_stay_grey(sight):
    np.testing.assert_allclose(np.array(cm.SIGHT[sight]).sum(1), 1, atol=1e-5)
