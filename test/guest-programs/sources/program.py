"""Python's own types, its C extensions, and what they compute."""
import bz2, decimal, fractions, hashlib, json, lzma, math, random, re, sqlite3, struct, zlib

print(sum(x ** 0.5 for x in range(2000)), 2 ** 300 % 1000003, 1e308 * 10, hash(12.5))
print([f"{v:.17g}" for v in (0.1, 1 / 3, 5e-324, math.pi)], round(2.675, 2))
print([getattr(math, f)(1.2345) for f in "sin cos tan exp log sqrt atan sinh gamma erf".split()])
print(decimal.Decimal(2).sqrt(decimal.Context(prec=60)), fractions.Fraction(1.1))
random.seed(7)
words = ["%x" % random.getrandbits(64) for _ in range(3000)]
print(sorted(words)[:3], hashlib.sha256("".join(words).encode()).hexdigest())
data = json.dumps({w: i for i, w in enumerate(words)}).encode()
for module in (zlib, bz2, lzma):
    packed = module.compress(data)
    assert module.decompress(packed) == data
    print(module.__name__, len(packed), hashlib.md5(packed).hexdigest())
print(len(re.findall(rb'"[0-9a-f]*(aa|bb)[0-9a-f]*"', data)), struct.pack("<dfq", 0.1, 0.1, -5).hex())
base = sqlite3.connect(":memory:")
base.execute("create table t(a integer primary key, b text)")
base.executemany("insert into t values (?, ?)", enumerate(words))
print(base.execute("select count(*), min(b), sum(length(b)), avg(a / 7.0) from t where b like '%a%'").fetchall())
class Node:
    def __init__(self, v): self.v, self.l, self.r = v, None, None
def put(n, v):
    while True:
        side = "l" if v < n.v else "r"
        m = getattr(n, side)
        if m is None: return setattr(n, side, Node(v))
        n = m
root = Node("8")
for w in words: put(root, w)
depth = lambda n: 0 if n is None else 1 + max(depth(n.l), depth(n.r))
print(depth(root), complex(1, 2) ** 3, divmod(-7, 3), (0.1 + 0.2).hex())
