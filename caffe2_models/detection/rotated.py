"""The area that two rotated boxes share: where their sides cross, the corners inside, the hull of these points."""

import itertools
import math

import numpy as np

Point = tuple[np.float32, np.float32]

SAME_POINT = np.float32(0.00001)
PARALLEL = np.float32(1e-14)


def intersections(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Areas that the box [5] shares with others [N, 5], float32."""
    corners = corners_of(box)
    with np.errstate(all="ignore"):
        return np.array([_shared_area(corners, corners_of(other), box, other) for other in others], np.float32)


def corners_of(box: np.ndarray) -> list[Point]:
    """The four corners; the angle turns counter-clockwise in an image whose y points down."""
    x, y, width, height, angle = box
    radians = float(-angle) * 0.01745329251
    half_cosine = np.float32(math.cos(radians)) * np.float32(0.5)
    half_sine = np.float32(math.sin(radians)) * np.float32(0.5)
    first = (x - half_sine * height - half_cosine * width, y + half_cosine * height - half_sine * width)
    second = (x + half_sine * height - half_cosine * width, y - half_cosine * height - half_sine * width)
    two = np.float32(2)
    return [first, second, (two * x - first[0], two * y - first[1]), (two * x - second[0], two * y - second[1])]


def _shared_area(a: list[Point], b: list[Point], box: np.ndarray, other: np.ndarray) -> float:
    if all(abs(p[0] - q[0]) <= SAME_POINT and abs(p[1] - q[1]) <= SAME_POINT for p, q in zip(a, b, strict=True)):
        return min(box[2] * box[3], other[2] * other[3])
    points = _crossings(a, b) + _inside(a, b) + _inside(b, a)
    if len(points) <= 2:
        return 0.0
    return _area(_hull(points))


def _minus(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1]


def _cross(a: Point, b: Point) -> np.float32:
    return a[0] * b[1] - b[0] * a[1]


def _dot(a: Point, b: Point) -> np.float32:
    return a[0] * b[0] + a[1] * b[1]


def _sides(corners: list[Point]) -> list[Point]:
    return [_minus(corners[(i + 1) % 4], corners[i]) for i in range(4)]


def _crossings(a: list[Point], b: list[Point]) -> list[Point]:
    found = []
    b_sides = _sides(b)
    for start, side in zip(a, _sides(a), strict=True):
        for other_start, other_side in zip(b, b_sides, strict=True):
            determinant = _cross(other_side, side)
            if abs(determinant) <= PARALLEL:
                continue
            between = _minus(other_start, start)
            along, along_other = _cross(other_side, between) / determinant, _cross(side, between) / determinant
            if 0 <= along <= 1 and 0 <= along_other <= 1:
                found.append((start[0] + along * side[0], start[1] + along * side[1]))
    return found


def _inside(corners: list[Point], box: list[Point]) -> list[Point]:
    """The corners that lie in the box."""
    sides = _sides(box)
    ab, da = sides[0], sides[3]
    found = []
    for corner in corners:
        ap = _minus(corner, box[0])
        on_ab, on_ad = _dot(ap, ab), -_dot(ap, da)
        if on_ab >= 0 and on_ad >= 0 and on_ab <= _dot(ab, ab) and on_ad <= _dot(da, da):
            found.append(corner)
    return found


def _hull(points: list[Point]) -> list[Point]:
    """The convex hull (Graham's scan), moved so that its lowest point is the origin."""
    lowest = min(range(len(points)), key=lambda i: (points[i][1], points[i][0]))
    moved = [_minus(point, points[lowest]) for point in points]
    moved[0], moved[lowest] = moved[lowest], moved[0]

    rest: list[Point] = []
    for point in moved[1:]:  # as std::sort orders up to 16 elements; the comparison is not transitive
        hole = len(rest)
        is_first = hole > 0 and _turns_before(point, rest[0])
        while hole > 0 and (is_first or _turns_before(point, rest[hole - 1])):
            hole -= 1
        rest.insert(hole, point)
    distinct = next((i for i, point in enumerate(rest) if float(_dot(point, point)) > 1e-8), None)
    if distinct is None:
        return moved[:1]
    hull = [moved[0], rest[distinct]]
    for point in rest[distinct + 1 :]:
        while len(hull) > 1 and _cross(_minus(point, hull[-2]), _minus(hull[-1], hull[-2])) >= 0:
            hull.pop()
        hull.append(point)
    return hull


def _turns_before(a: Point, b: Point) -> bool:
    turn = float(_cross(a, b))
    return bool(_dot(a, a) < _dot(b, b)) if abs(turn) < 1e-6 else turn > 0


def _area(hull: list[Point]) -> float:
    if len(hull) <= 2:
        return 0.0
    pairs = itertools.pairwise(hull[1:])
    return sum(float(abs(_cross(_minus(a, hull[0]), _minus(b, hull[0])))) for a, b in pairs) / 2.0
