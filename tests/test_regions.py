"""Grids of cases for `mrtl.climate.regions`: areas against geometry by hand, against shapely and against sampled
points, and every way to say where."""
import json, sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
import numpy as np, pytest
from mrtl.climate import regions
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.climate.regions import CONTIGUOUS, MIDWEST_STATES, REGIONS, box_ring, checked_ring, geojson_regions, region_polygons, region_weights, state_outlines, stretches

R = 6371.0088
def zone(s, n, degrees): return R**2*np.deg2rad(degrees)*(np.sin(np.deg2rad(n))-np.sin(np.deg2rad(s)))
def feature(name, *rings, kind='Polygon', **more):
    return dict(type='Feature', properties=dict(name=name),
                geometry=dict(type=kind, coordinates=[np.asarray(r, float).tolist() for r in rings] if kind
                              == 'Polygon' else rings[0]), **more)
def square(s, n, w, e): return [(w, s), (e, s), (e, n), (w, n), (w, s)]
HOLE = dict(type='FeatureCollection',
            features=[feature('frame', square(30, 50, -110, -80), square(35.3, 44.2, -101.7, -90.4))])

# ---- areas

@pytest.mark.parametrize('box', [(36.2, 48.9, -103.7, -80.1), (37, 49, -104, -80), (40.01, 40.02, -90.02, -90.01),
                                 (30, 50, -120, -70.5)])
@pytest.mark.parametrize('step', [.5, 1., 2.5])
@pytest.mark.parametrize('turn', [0, 360])
@pytest.mark.parametrize('down', [False, True])
def test_boxes_by_hand(box, step, turn, down):
    s,n,w,e = box; lat,lon = np.arange(20+step/2, 60, step)[::-1 if down else 1],np.arange(-130+step/2, -60, step)+turn
    got = region_weights(box, lat, lon)
    over = lambda c, lo, hi: np.clip(np.minimum(c+step/2, hi)-np.maximum(c-step/2, lo), 0, None)
    lo,hi = np.maximum(lat-step/2, s),np.minimum(lat+step/2, n)
    want = np.where(hi > lo, zone(lo, hi, 1.), 0.)[:, None]*over(lon-turn, w, e)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-6)
    assert got.area == pytest.approx(zone(s, n, e-w), rel=1e-12) and got.units == 'km2'
    assert (got.lat.values == lat).all() and (got.lon.values == lon).all()

def by_shapely(region, lat, lon):
    "Each cell's area, by shapely's clipping and the exact area below straight sides."
    shapely = pytest.importorskip('shapely')
    shape = shapely.Polygon()
    for rings in region_polygons(region):
        part = shapely.Polygon()
        for r in rings: part = part.symmetric_difference(shapely.Polygon(r))
        shape = shape.union(part)
    def area(g):
        total = 0.
        for p in getattr(g, 'geoms', [g]):
            for k,r in enumerate([p.exterior, *p.interiors] if p.geom_type == 'Polygon' else []):
                x,y = np.deg2rad(np.array(r.coords)).T; dx,dy = np.diff(x),np.diff(y)
                flat = np.abs(dy) < 1e-12
                mean = np.where(flat, np.sin(y[:-1]), -np.diff(np.cos(y))/np.where(flat, 1, dy))
                total += (-1)**(k > 0)*abs((dx*mean).sum())
        return total*R**2
    dy,dx = (lat[1]-lat[0])/2,(lon[1]-lon[0])/2
    return np.array([[area(shape.intersection(shapely.box(x-dx, y-dy, x+dx, y+dy))) for x in lon] for y in lat])

@pytest.mark.parametrize('region', ['midwest', 'CO', 'MI', 'MD', 'IA,midwest', 'AZ,NM', HOLE,
                                    ((-100, 30), (-80, 50), (-110, 45)),
                                    ((-100, 30), (-99, 50), (-98, 30), (-99, 32))], ids=str)
@pytest.mark.parametrize('step', [1., 3.])
def test_shapely_agrees(region, step):
    lat,lon = np.arange(25+step/2, 55, step),np.arange(-125+step/2, -65, step)
    got,want = region_weights(region, lat, lon),by_shapely(region, lat, lon)
    assert np.abs(got-want).max() < 2e-6*zone(40, 40+step,
                                              step) and float(got.sum()) == pytest.approx(want.sum(), rel=1e-7)

@pytest.mark.parametrize('seed', range(3))
def test_sampled_points_agree(seed):
    from matplotlib.path import Path as Outline
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2*np.pi, 9))
    star = np.c_[-95+12*np.cos(angle)*rng.uniform(.4, 1, 9), 42+8*np.sin(angle)*rng.uniform(.4, 1, 9)]
    lat,lon = np.arange(33., 52, 2),np.arange(-108., -81, 2); k = (np.arange(80)+.5)/80*2-1
    y,x = np.meshgrid((lat[:, None]+k).ravel(), (lon[:, None]+k).ravel(), indexing='ij')
    inside = Outline(star).contains_points(np.c_[x.ravel(), y.ravel()]).reshape(y.shape)*np.cos(np.deg2rad(y))
    want = inside.reshape(len(lat), 80, len(lon), 80).sum((1, 3))*(np.deg2rad(2/80)*R)**2
    assert np.abs(region_weights(star, lat, lon)-want).max() < .02*want.max()

@pytest.mark.parametrize('lon', [np.arange(-178.75, 180, 2.5), np.arange(1.25, 360, 2.5),
                                 np.arange(181.25, 540, 2.5), (np.arange(101.25, 460, 2.5)+180)%360-180])
@pytest.mark.parametrize('box', [(-5, 5, 170, -120), (-5, 5, -190, -120), (-5, 5, 170, 240), (10, 20, -10, 15),
                                 (-90, 90, -180, 180), (0, 1, 0, 360)])
def test_round_the_globe(lon, box):
    lat = np.arange(-88.75, 90, 2.5); w = region_weights(box, lat, lon); width = (box[3]-box[2]-1e-9)%360+1e-9
    assert float(w.sum()) == pytest.approx(zone(*box[:2], width), rel=1e-9) == pytest.approx(w.area, rel=1e-9)
    centre = (box[2]+width/2)%360
    at = np.abs((lon-centre+180)%360-180).argmin()
    row = np.abs(lat-(box[0]+box[1])/2).argmin()
    assert w[row, at] > 0

def test_a_grid_that_does_not_reach():
    lat,lon = np.arange(30.5, 40),np.arange(-99.5, -90); w = region_weights((35, 45, -95, -85), lat, lon)
    assert float(w.sum()) == pytest.approx(zone(35, 40, 5)) and w.area == pytest.approx(zone(35, 45, 10))
    assert float(region_weights('HI', lat, lon).sum()) == 0
    with pytest.raises(DataError, match='two cells'): region_weights('IA', [40.], lon)
    with pytest.raises(DataError, match='equally spaced'): region_weights('IA', [40., 41, 43], lon)

def test_pieces_add_up_and_overlaps_count_once():
    lat,lon = np.arange(20.25, 55, .5),np.arange(-129.75, -60, .5); w = lambda r: region_weights(r, lat, lon)
    np.testing.assert_allclose(w('AZ,NM'), w('AZ')+w('NM'), atol=.01)
    assert w('all').area == pytest.approx(sum(w(s).area for s in CONTIGUOUS), rel=1e-6)
    np.testing.assert_allclose(w('IA,IA,NE'), w('NE,IA'), atol=1e-6)
    a,b = (30, 40, -100, -90),(35, 45, -95, -85); both = region_polygons(a)+region_polygons(b)
    assert w(both).area == pytest.approx(w(a).area+w(b).area-zone(35, 40, 5))
    assert w(HOLE).area == pytest.approx(zone(30, 50, 30)-zone(35.3, 44.2, 11.3))

def test_stretches():
    got = stretches(region_polygons(HOLE), np.array([20., 32, 40, 49.9, 50.1]))
    assert [s.tolist() for s in got] == [[], [[-110, -80]], [[-110, -101.7], [-90.4, -80]], [[-110, -80]], []]

# ---- states

# km2, land and water
CENSUS = dict(IA=145746, CO=269601, WY=253335, KS=213100, AZ=295234, NM=314917, TN=109153,
              UT=219882, AR=137732, ND=183108)

@pytest.mark.parametrize('state', CENSUS)
def test_states_have_their_size(state):
    lat,lon = np.arange(15.5, 75),np.arange(-179.5, -60); w = region_weights(state, lat, lon)
    assert w.area == pytest.approx(CENSUS[state], rel=.006)

@pytest.mark.parametrize('city,lat,lon,state',
                         [('Des Moines', 41.59, -93.62, 'IA'), ('Detroit', 42.35, -83.1, 'MI'),
                          ('Marquette', 46.53, -87.45, 'MI'), ('Honolulu', 21.33, -157.85, 'HI'),
                          ('Anchorage', 61.2, -149.8, 'AK'), ('Washington', 38.9, -77.02, 'DC'),
                          ('Boise', 43.6, -116.2, 'ID'), ('Miami', 25.8, -80.25, 'FL')])
def test_cities_lie_in_their_states(city, lat, lon, state):
    def inside(s): return any(a <= lon <= b for a,b in stretches(region_polygons(s), np.array([lat]))[0])
    assert [s for s in state_outlines() if inside(s)] == [state]

def test_the_state_file_is_small_and_sane():
    path = Path(regions.__file__).parent.parent/'states.npz'; assert path.stat().st_size < 100e3
    with np.load(path) as f: assert 'Public domain' in str(f['source']) and 'permission notice' in str(f['source'])
    outlines = state_outlines()
    assert len(outlines) == 51 and set(CONTIGUOUS) == set(outlines)-{'AK', 'HI',
            'DC'} and set(MIDWEST_STATES) <= set(CONTIGUOUS) and len(MIDWEST_STATES) == 12
    for rings in outlines.values():
        for r in rings:
            assert len(r) > 3 and (r[0] == r[-1]).all() and np.abs(r[:, 0]).max() <= 180 and r[:,
                    1].min() > 15 and r[:, 1].max() < 75
    with pytest.raises(ValueError, match='read-only'): outlines['IA'][0][0] = 0

def test_neighbours_share_their_border():
    sides = {s: {tuple(sorted(map(tuple, ab))) for r in state_outlines()[s]
                 for ab in zip(r[:-1].tolist(), r[1:].tolist())} for s in ('IA', 'NE', 'CO', 'WY')}
    assert len(sides['IA']&sides['NE']) > 5 and sides['CO']&sides['WY'] and not sides['IA']&sides['WY']

def test_the_script(tmp_path, monkeypatch, capsys):
    here = Path(__file__).parent.parent/'tools'; monkeypatch.syspath_prepend(str(here))
    spec = spec_from_file_location('make_states', here/'make_states.py')
    m = module_from_spec(spec); spec.loader.exec_module(m)
    monkeypatch.delitem(sys.modules, 'make_coastlines', raising=False)
    circle = np.array([(np.cos(a), np.sin(a)) for a in np.linspace(0, 2*np.pi, 400)]); circle[-1] = circle[0]
    thin = m.thin_arc(circle)
    assert 10 < len(thin) < 100 and (thin[0] == thin[-1]).all() and np.abs(np.hypot(*thin.T)-1).max() < 1e-9
    assert len(m.thin_arc(np.array([(0, 0), (1, 1e-4), (2, 0)]))) == 2 and len(m.thin_arc(np.zeros((2, 2)))) == 2
    steps = lambda p: [list(map(int, p[0]))]+np.diff(p, axis=0).tolist()
    arcs = [np.array([(0, 0), (0, 10)]), np.array([(0, 10), (-10, 10), (-10, 0), (0, 0)]),
            np.array([(0, 10), (10, 10), (10, 0), (0, 0)])]
    topology = dict(transform=dict(scale=[.1, .1], translate=[-95, 40]), arcs=[steps(a) for a in arcs],
        objects=dict(states=dict(geometries=[dict(id='19', type='Polygon', arcs=[[0, 2]]),
                                             dict(id='31', type='MultiPolygon', arcs=[[[1, 0]]]),
                                             dict(id='72', type='Polygon', arcs=[[0, 2]])])))
    (tmp_path/'s.json').write_text(json.dumps(topology)); m.main(tmp_path/'s.json', tmp_path/'s.npz')
    with np.load(tmp_path/'s.npz') as f:
        assert f['state'].tolist() == ['IA', 'NE'] and f['starts'].tolist() == [0,
                5] and f['points'][:2].tolist() == [[-95000, 40000], [-95000, 41000]]

# ---- ways to say where

@pytest.mark.parametrize('region,n,rings', [('midwest', 1, [1]), ('37,49,-104,-80', 1, [1]),
                                            ('37, 49, -104, -80', 1, [1]), ((37, 49, -104, -80), 1, [1]),
                                            ([37, 49, -104, -80], 1, [1]), (np.array([37., 49, -104, -80]), 1, [1]),
                                            ('AZ,NM', 2, [1, 1]), ('MI', 1, [12]), ('midwest,AZ', 2, [1, 1]),
    ('all', 48, None), (REGIONS['midwest'], 1, [1]), (np.array(REGIONS['midwest']), 1, [1]), (HOLE, 1, [2])], ids=str)
def test_forms(region, n, rings):
    got = region_polygons(region); assert len(got) == n and (rings is None or [len(p) for p in got] == rings)
    again = region_polygons(got); assert again is got

@pytest.mark.parametrize('error,text,region',
                         [(ConfigError, "no region 'Midwest'", 'Midwest'), (ConfigError, "no region 'XX'", 'AZ,XX'),
                          (ConfigError, "no region '37'", '37,49,-104'), (ConfigError, "no region ''", ''),
                          (ConfigError, 'south below north', '49,37,-104,-80'),
    (ConfigError, 'south below north', (37, 99, -104, -80)), (ConfigError, 'no wider', (37, 49, -350, 80)),
    (ConfigError, 'south below north', (37, np.nan, -104, -80)), (ConfigError, 'a region is', 7),
    (ConfigError, 'a region is', (1, 2, 3)), (ConfigError, 'a region is', None),
    (DataError, 'three corners', [(1, 2), (3, 4)]), (DataError, 'three corners', [(1, 2), (3, 4), (1, 2)]),
    (DataError, r'\(lon, lat\)', [(41, -104), (49, -104), (49, -95)]),
    (DataError, 'leaves the globe', [(1, 2), (3, np.nan), (4, 5)]), (DataError, 'no file', 'basin.geojson'),
    (DataError, 'no file', Path('basin.geojson'))], ids=str)
def test_refused(error, text, region):
    with pytest.raises(error, match=text): region_polygons(region)

def test_a_line_has_no_area():
    for line in ([(-100, 40), (-95, 40), (-90, 40)], [(-100, 38), (-100, 40), (-100, 42)]):
        with pytest.raises(DataError, match='no area'): region_weights(line, np.arange(30., 50), np.arange(-110., -80))

def test_geojson(tmp_path):
    two = dict(type='FeatureCollection',
               features=[feature('b', square(0, 1, 0, 1)),
                         feature('a', [[square(0, 1, 5, 6)], [square(0, 1, 8, 9)]], kind='MultiPolygon'),
                         feature('b', square(3, 4, 0, 1)), dict(feature(None, square(0, 1, 0, 1)), properties=None,
            id=7), dict(feature('x', square(0, 1, 0, 1)), properties={})])
    (tmp_path/'r.geojson').write_text(json.dumps(two)); got = geojson_regions(tmp_path/'r.geojson')
    assert {k: len(v) for k,v in got.items()} == {'b': 2, 'a': 2, '7': 1, 'feature 5': 1}
    assert len(region_polygons(str(tmp_path/'r.geojson'))) == len(region_polygons(tmp_path/'r.geojson')) == 6
    assert len(region_polygons(two['features'][0])) == len(region_polygons(two['features'][0]['geometry'])) == 1
    assert checked_ring([(0, 0, 5), (1, 0, 5), (1, 1, 5)]).shape == (4, 2)

@pytest.mark.parametrize('error,text,tree', [(FormatError, 'cannot be read as GeoJSON', '{"type": "Feat'),
                                             (FormatError, 'must hold an object', '[1, 2]'),
                                             (FormatError, 'no object', '{"features": [3]}'),
                                             (DataError, 'no feature', '{"features": []}'),
                                             (DataError, 'is a Point', '{"type": "Point", "coordinates": [1, 2]}'),
    (DataError, 'is a LineString',
     json.dumps(dict(type='Feature', geometry=dict(type='LineString', coordinates=[[0, 0], [1, 1]])))),
    (DataError, 'without geometry', json.dumps(dict(type='Feature', geometry=None))),
    (FormatError, 'no list of rings', '{"type": "Polygon", "coordinates": 3}'),
    (FormatError, 'no list of rings', '{"type": "MultiPolygon", "coordinates": [[], 2]}'),
    (DataError, 'three corners', '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}'),
    (DataError, 'three corners', '{"type": "Polygon", "coordinates": [[0, 1, 2]]}'),
    (DataError, 'leaves the globe', json.dumps(dict(type='Polygon', coordinates=[square(0, 4e6, 0, 5e5)])))])
def test_bad_geojson(tmp_path, error, text, tree):
    (tmp_path/'r.json').write_text(tree)
    with pytest.raises(error, match=text): region_polygons(str(tmp_path/'r.json'))

@pytest.mark.parametrize('corner', [[10**400, 1], [float('nan'), 1], [1e308, 1], ['a', 1], [None, 1], [1], [], {},
                                    {'a': 1}, [[1], 2], True])
def test_odd_corners_of_geojson(tmp_path, corner):
    "Numbers that no float holds, and what is no number."
    tree = dict(type='Polygon', coordinates=[[[0, 0], corner, [1, 1], [0, 1], [0, 0]]])
    f = tmp_path/'a.geojson'; f.write_text(json.dumps(tree))
    for source in tree,f:
        with pytest.raises(DataError, match='three corners or more|leaves the globe'): region_polygons(source)
