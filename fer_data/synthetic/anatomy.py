"""The mean neutral face: 68 points in three dimensions.

In:  nothing.
Out: mean_face(): (68, 3) float64; MIRROR: each point's index on the other side.

Convention: face coordinates. x to the right of the picture, y down, z towards the viewer; the origin lies midway between
the eyes; the unit is the distance between the centres of the eyes (about 63 mm).
"""

import numpy as np

__all__ = ["MIRROR", "mean_face"]

# The same point on the other side of the face, iBUG order.
MIRROR = (*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37,
          36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65)

# Right half (left in the picture) and midline of the mean neutral face: index -> (x, y, z). x and y: mean of the points
# found on the 51 neutral portraits of the Face Research Lab London set (DeBruine & Jones 2017, CC BY 4.0), made
# left-right symmetric; z: anatomical, by hand.
_MEAN_HALF = {
    0: (-1.124, 0.073, -0.95), 1: (-1.100, 0.368, -0.93), 2: (-1.052, 0.656, -0.88), 3: (-1.002, 0.942, -0.76),
    4: (-0.919, 1.216, -0.56), 5: (-0.770, 1.452, -0.32), 6: (-0.557, 1.641, -0.10), 7: (-0.296, 1.776, 0.06),
    8: (0.0, 1.815, 0.10),
    17: (-0.937, -0.189, -0.18), 18: (-0.803, -0.340, 0.00), 19: (-0.600, -0.402, 0.12), 20: (-0.391, -0.382, 0.18),
    21: (-0.189, -0.307, 0.20),
    27: (0.0, -0.061, 0.14), 28: (0.0, 0.119, 0.24), 29: (0.0, 0.296, 0.36), 30: (0.0, 0.480, 0.48),
    31: (-0.203, 0.651, 0.18), 32: (-0.105, 0.682, 0.26), 33: (0.0, 0.707, 0.32),
    36: (-0.696, 0.017, -0.12), 37: (-0.576, -0.071, 0.00), 38: (-0.423, -0.071, 0.03), 39: (-0.293, 0.027, 0.00),
    40: (-0.431, 0.065, 0.02), 41: (-0.582, 0.070, -0.01),
    48: (-0.400, 1.078, 0.06), 49: (-0.249, 0.975, 0.20), 50: (-0.105, 0.921, 0.28), 51: (0.0, 0.950, 0.30),
    57: (0.0, 1.220, 0.26), 58: (-0.113, 1.210, 0.24), 59: (-0.252, 1.172, 0.18),
    60: (-0.326, 1.077, 0.09), 61: (-0.108, 1.046, 0.24), 62: (0.0, 1.052, 0.26), 66: (0.0, 1.062, 0.26),
    67: (-0.107, 1.055, 0.24),
}


def mean_face() -> np.ndarray:
    """Return the mean neutral face, (68, 3), left-right symmetric."""
    points = np.empty((68, 3))
    for index, place in _MEAN_HALF.items():
        points[index] = place
        points[MIRROR[index]] = (-place[0], place[1], place[2])
    return points
