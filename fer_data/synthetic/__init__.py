"""People who do not exist, drawn with expressions that are known, in the layouts of the licensed databases.

In:  a numpy Generator, or a number of subjects and a seed.
Out: pictures with their 68 true points; whole trees on disk.

    person  = draw_person(rng)                                       who
    levels  = perform(person, "happiness", rng)                      what the face does at the peak, by action unit
    nuisance = draw_nuisance(rng)                                    pose, place, light, background, grain
    picture, points = draw_face(person, levels, 0.9, nuisance, size=(640, 490), rng=rng)
    write_ck_plus(out, subjects=60, seed=0)
"""

from fer_data.synthetic.ck_plus import person_of, write_ck_plus
from fer_data.synthetic.drawing import draw_face
from fer_data.synthetic.expressions import ACTION_UNITS, VARIANTS, perform
from fer_data.synthetic.people import Person, draw_person
from fer_data.synthetic.plan import plan_ck_plus
from fer_data.synthetic.scene import Nuisance, draw_nuisance, drift
from fer_data.synthetic.trees import Written
from fer_data.synthetic.version import VERSION

__all__ = [
    "VERSION", "ACTION_UNITS", "VARIANTS", "Person", "Nuisance", "Written", "draw_person", "person_of", "perform",
    "draw_nuisance", "drift", "draw_face", "plan_ck_plus", "write_ck_plus",
]
