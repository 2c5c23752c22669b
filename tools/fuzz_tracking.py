"""Fuzz the readers of tracking and play-by-play: bytes and structure of SportVU JSON (plain, gz, 7z) and of
play-by-play CSV.

    python tools/fuzz_tracking.py --minutes 3 [--seed 0] [--keep DIR]

Every damaged file must be read, or refused by one of mrtl's named errors, within ten seconds of the processor; what
is read must lie within what a game can hold. Findings are printed and, with --keep, stored."""
import argparse, gzip, io, json, random, sys, tempfile, time, traceback, warnings
from collections import Counter
from pathlib import Path
import numpy as np, pandas as pd
from mrtl.basketball.games import planted_league, plays_v3, simulate_games
from mrtl.basketball.plays import read_play_by_play
from mrtl.basketball.shots import learning_table
from mrtl.basketball.tracking import read_games
from mrtl.core import MRTLError

ODD = [None, True, False, -1, 0, 1, 99, 1.5, 1e300, 10**400, float('nan'), float('inf'), -float('inf'), '', 'x',
       '10', 'é\ud800', [], [[]], [1]*50, {}, {'a': 1}, [[[[]]]], '[', 2**53, 2**63, -2**63]
WORDS = [b'', b'nan', b'x', b'-1', b'0', b'1e300', b'9'*400, b'"', b'\0', b',', b';', b'\xff\xfe', b'PT', b'PT99M',
         b'11:60', b'::', b'Made Shot', b'=1+1', b'\n\n', b'1.5', b'\xc3']

def bytes_changed(raw, rng):
    "Flip, delete, double, insert, cut or swap."
    b = bytearray(raw)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 30])):
        if not b: break
        i = rng.randrange(len(b)); n = rng.choice([1, 1, 2, 8, 100, 4000]); how = rng.randrange(7)
        if how == 0: b[i] ^= 1 << rng.randrange(8)
        elif how == 1: del b[i:i+n]
        elif how == 2: b[i:i] = b[i:i+n]
        elif how == 3: b[i:i] = bytes(rng.randrange(256) for _ in range(min(n, 8)))
        elif how == 4:
            b[i:i+1] = rng.choice([b'[', b']', b'{', b'}', b'"', b',', b':', b'\\', b'[['*2000,
                                   b'{"a":'*2000, b'-', b'e9', b'\0'])
        elif how == 5: del b[i:len(b) if rng.random() < .2 else i+n]
        else: j = rng.randrange(len(b)); b[i:i+n],b[j:j+n] = b[j:j+n],b[i:i+n]
    return bytes(b)

def tree_changed(node, rng, depth=0):
    "A few values of a JSON tree replaced, dropped or doubled."
    if depth > rng.choice([0, 1, 2, 3, 4, 5]) or not isinstance(node, (dict, list)) or not node: return rng.choice(ODD)
    node = node.copy()
    keys = list(node) if isinstance(node, dict) else range(len(node))
    k = rng.choice(list(keys)); how = rng.random()
    if how < .75: node[k] = tree_changed(node[k], rng, depth+1)
    elif how < .85: del node[k]
    elif isinstance(node, list): node.insert(k, rng.choice([node[k], *ODD]))
    else: node[str(k)+'x'] = node.pop(k)
    return node

def table_changed(raw, rng):
    "Cells, rows and columns of a CSV."
    rows = [r.split(b',') for r in raw.split(b'\n')]
    for _ in range(rng.choice([1, 1, 3, 20])):
        r = rng.randrange(len(rows)); c = rng.randrange(len(rows[r])); how = rng.randrange(6)
        if how == 0: rows[r][c] = rng.choice(WORDS)
        elif how == 1: del rows[r]; rows = rows or [[b'']]
        elif how == 2: rows.insert(r, rows[rng.randrange(len(rows))])
        elif how == 3: w = rng.choice(WORDS); rows = rows[:1]+[q[:c]+[w]+q[c+1:] if len(q) > c else q for q in rows[1:]]
        elif how == 4: rows = [q[:c]+q[c+1:] or [b''] for q in rows]
        else: rows[1:] = rng.sample(rows[1:], len(rows)-1)
    return b'\n'.join(b','.join(r) for r in rows)

def packed(name, data, folder):
    "Write data under a name, packed as its ending says."
    path = folder/name
    if name.endswith('.7z'):
        import py7zr
        with py7zr.SevenZipFile(path, 'w') as z: z.writestr(data, 'game.json')
    else: path.write_bytes(gzip.compress(data, 1) if name.endswith('.gz') else data)
    return path

def sound(frames):
    "Is all that was read something that a game can hold?"
    ok = lambda v, lo, hi: bool(np.isfinite(v).all() and (v >= lo).all() and (v <= hi).all())
    return ok(frames.quarter.values, 1, 14) and ok(frames.game_clock.values, 0, 720.5) and ok(frames.player.values,
            -150, 150) and ok(frames.ball.values, -150, 150) and ok(frames.player_id.values.astype(float), 1, 2**53)

def one(rng, folder, good, frames, whole):
    "One damaged file: its kind, the file, and what came of it."
    kind = rng.choice(['json bytes', 'json tree', 'gz bytes', '7z bytes', '7z tree', 'gz tree', 'csv bytes',
                       'csv cells', 'csv.gz bytes', 'csv cells'])
    if kind.startswith('csv'):
        raw = rng.choice(good['csv'])
        data = table_changed(raw, rng) if 'cells' in kind else bytes_changed(raw,
                rng) if kind == 'csv bytes' else bytes_changed(gzip.compress(raw, 1), rng)
        file = folder/'p.csv'; file.write_bytes(data)
        plays = read_play_by_play(file).plays
        t = learning_table(frames, plays).table
        both = whole.merge(t, on=['quarter', 'clock', 'player'], suffixes=('', '_now'))
        lost = int((both.y_true > both.y_true_now).sum())
        return kind,file,f'read, {lost} frames of shots became others' if lost else 'read'
    tree = json.dumps(tree_changed(good['tree'], rng)).encode('utf-8', 'replace') if 'tree' in kind else good['json']
    name = {'j': 'g.json', 'g': 'g.json.gz', '7': 'g.7z'}[kind[0]]
    file = packed(name, tree, folder)
    if 'bytes' in kind: file.write_bytes(bytes_changed(file.read_bytes(), rng))
    f,_ = read_games([file]); assert sound(f), 'values that cannot be'; return kind,file,'read'

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--minutes', type=float, default=3)
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--keep', type=Path)
    a = p.parse_args(argv); warnings.simplefilter('ignore')
    found,seen,n = Counter(),Counter(),0
    stop = time.process_time()+60*a.minutes
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        files,plays = simulate_games(d/'good', planted_league(seed=1), games=1, quarters=1)
        table = pd.read_csv(plays); raw = files[0].read_bytes()
        tree = json.loads(raw)
        tree['events'] = tree['events'][:4]
        frames = read_games(files)[0]; whole = learning_table(frames, read_play_by_play(plays).plays).table
        good = dict(csv=[plays.read_bytes(), plays_v3(table).to_csv(index=False).encode()],
                    json=json.dumps(tree).encode(), tree=tree)
        (d/'bad').mkdir()
        while time.process_time() < stop:
            rng = random.Random(f'{a.seed}/{n}'); n += 1; start = time.process_time()
            try: kind,file,what = one(rng, d/'bad', good, frames, whole)
            except MRTLError as e:
                kind,what = '',f'{type(e).__name__}'; message = str(e)
                what += ' (long)' if len(message) > 2000 else ''
            except Exception as e:
                kind = ''
                at = traceback.extract_tb(e.__traceback__)[-1]
                what = f'RAW {type(e).__name__} in {Path(at.filename).name}:{at.lineno}'
                seen[what] or traceback.print_exc()
            if time.process_time()-start > 10: what = 'SLOW '+what
            seen[what] += 1
            if 'RAW' in what or 'SLOW' in what or 'long' in what:
                found[what] += 1
                if a.keep:
                    a.keep.mkdir(parents=True, exist_ok=True)
                    [(a.keep/f'{n}_{f.name}').write_bytes(f.read_bytes()) for f in (d/'bad').iterdir()]
            for f in (d/'bad').iterdir(): f.unlink()
    print(f'{n} damaged files; seed {a.seed}'); [print(f'{v:7d}  {k}') for k,v in seen.most_common()]
    return bool(found)

if __name__ == '__main__': sys.exit(main())
