"""Scenes of the simulated world: falls follow gravity, what does not touch is silent, cuts change the view."""

from importlib.util import find_spec

import numpy as np
import pytest

from foleygram.synthetic.physics.render import check_opengl

# Not imported here: MuJoCo chooses its backend when imported, and `check_opengl` names one before that.
if not (find_spec("mujoco") and find_spec("pyroomacoustics")):
    pytest.skip("the extra `render` is not installed", allow_module_level=True)

SILENT = ("waving", "camera moves", "cuts", "a talking face", "a recorded screen")


@pytest.fixture(scope="module", autouse=True)
def opengl() -> None:
    try:
        check_opengl()
    except RuntimeError as error:
        pytest.skip(str(error))


def test_a_released_ball_lands_when_gravity_says_and_bounces_as_its_damping_says() -> None:

    from foleygram.synthetic.physics.contacts import Release, find_impacts, simulate
    from foleygram.synthetic.physics.shapes import floor
    from foleygram.synthetic.physics.stage import Stage

    stage = Stage(np.random.default_rng(0))
    ball = stage.thing("rubber")
    body = stage.world.add_body(name="ball", pos=[0, 0, 0.6])
    body.add_freejoint(name="free")
    geom = stage.geom(body, "sphere", 0.1, stage.plain((1, 0, 0)), owner=ball, mass=0.1)
    geom.solref, geom.priority = (0.02, 0.1), 2
    floor(stage, "wood")
    model, data = stage.compile()
    release = Release(0.3, "free", np.zeros(6))
    recording = simulate(model, data, stage.owners(model), np.zeros((1500, 0)), [release])
    height = recording.positions[:, 2]
    assert np.abs(height[:300] - 0.6).max() < 1e-4
    impacts = find_impacts(recording.contacts)
    fall = np.sqrt(2 * (0.6 - 0.1) / -float(model.opt.gravity[2]))
    assert impacts[0].time == pytest.approx(0.3 + fall, abs=0.003)
    assert (impacts[0].thing, impacts[0].other) == (1, ball)
    # A damped spring keeps exp(-pi * ratio / sqrt(1 - ratio**2)) of the speed, so its square of the height.
    kept = np.exp(-np.pi * 0.1 / np.sqrt(1 - 0.1**2))
    bounce = height[round(1000 * impacts[0].time) + 40 : round(1000 * impacts[1].time)].max() - 0.1
    assert bounce == pytest.approx(kept**2 * 0.5, rel=0.2)


def test_slow_motion_stretches_positions_and_contacts() -> None:
    from foleygram.synthetic.physics.contacts import Contact, Recording, find_impacts

    force = np.zeros(100)
    force[40:45] = 10.0
    recording = Recording(np.arange(100.0)[:, None], [Contact(0, -1, force, np.zeros(100))])
    slow = recording.slowed(3.0)
    assert len(slow.positions) == 300 and slow.positions[150, 0] == 50
    assert find_impacts(slow.contacts)[0].time == pytest.approx(3 * 0.04, abs=0.002)
    assert recording.slowed(1.0) is recording


@pytest.mark.parametrize("kind", SILENT)
def test_kinds_without_contact_have_none_and_move(kind: str) -> None:
    from foleygram.synthetic.physics.camera import Sensor
    from foleygram.synthetic.physics.scenes import WITHOUT_CONTACT

    rng = np.random.default_rng((1, len(kind)))
    scene = WITHOUT_CONTACT[kind][1](2.0, rng)
    assert not scene.events and scene.caption == scene.silent and "{" not in scene.caption
    frames = np.stack(list(scene.film(np.arange(0, 2, 0.25), Sensor(rng, 2.0, (48, 64)))))
    assert frames.shape == (8, 48, 64, 3) and frames.dtype == np.uint8
    assert np.abs(np.diff(frames.astype(float), axis=0)).mean() > 0.1


def test_drops_and_footsteps_are_heard_on_the_ground() -> None:
    from foleygram.synthetic.physics.scenes import WITH_CONTACT

    for kind in ("drops", "footsteps"):
        scenes = [WITH_CONTACT[kind][1](3.0, np.random.default_rng((2, index))) for index in range(3)]
        assert sum(len(scene.events) for scene in scenes) >= 3, kind
        for scene in scenes:
            ground = len(scene.materials) - 1
            assert all(event.material in scene.materials for event in scene.events)
            assert any(impact.thing == ground for impact in scene.impacts) or not scene.impacts


def test_each_planned_step_is_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    from foleygram.synthetic.physics import footsteps

    walks, plan = [], footsteps.plan_walk
    monkeypatch.setattr(footsteps, "plan_walk", lambda *drawn: walks.append(plan(*drawn)) or walks[-1])
    for index in range(3):
        scene = footsteps.footsteps_scene(2.0, np.random.default_rng((9, index)))
        planned = [time for time in walks[-1].strikes if 0.02 < time < 1.97]
        times = [event.time for event in scene.events]
        assert len(times) == len(planned) and np.abs(np.subtract(times, planned)).max() < 0.04, (times, planned)
        assert {event.action for event in scene.events} == {"hit"}


def test_a_tool_that_turns_about_its_tip_does_not_slide() -> None:
    import mujoco

    from foleygram.synthetic.physics.contacts import Contact, simulate
    from foleygram.synthetic.physics.shapes import floor
    from foleygram.synthetic.physics.stage import TOOL, Stage

    stage = Stage(np.random.default_rng(0))
    body = stage.world.add_body(name="tool", pos=[0, 0, 0.0095])
    body.add_joint(type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 0, 1], damping=[0.0, 0.0, 0.0])
    paint = stage.plain((1, 0, 0))
    stage.geom(body, "sphere", 0.01, paint, owner=TOOL, mass=0.01)
    stage.geom(body, "sphere", 0.02, paint, mass=1.0, pos=[0.5, 0, 0.1])  # its centre of mass is far from its tip
    floor(stage, "wood")
    model, data = stage.compile()
    data.qvel[0] = 2.0
    (contact,) = simulate(model, data, stage.owners(model), np.zeros((50, 0))).contacts
    assert isinstance(contact, Contact) and contact.force[10:].min() > 0
    assert contact.speed.max() < 0.02


def test_shares_of_the_kinds_sum_to_one() -> None:
    from foleygram.synthetic.physics.scenes import WITH_CONTACT, WITHOUT_CONTACT

    assert sum(share for share, _ in [*WITH_CONTACT.values(), *WITHOUT_CONTACT.values()]) == pytest.approx(1)


def test_a_cut_shows_another_view() -> None:
    from foleygram.synthetic.physics.camera import View, draw_cameras

    view = View(np.zeros(3), 0.0, 0.8, 1.0, 0.0, 40.0)
    cameras = draw_cameras(view, 4.0, np.random.default_rng(3), unrest=0.0, cut_share=1.0)
    assert len(cameras) > 1 and cameras[0][0] == 0.0 and all(0.3 <= time < 4 for time, _ in cameras[1:])
    positions = [camera.pose(0.0)[0] for _, camera in cameras]
    assert all(np.linalg.norm(other - positions[0]) > 0.01 for other in positions[1:])


def test_where_two_things_touch_both_sound() -> None:
    from foleygram.synthetic.physics.contacts import Contact, Impact
    from foleygram.synthetic.physics.sound import render_sound

    force = np.zeros(1000)
    force[300:310] = 20.0
    levels = []
    for materials in (["rubber", "cloth"], ["metal", "cloth"]):
        contacts, impacts = [Contact(1, 0, force, np.zeros(1000))], [Impact(0.3, 1, 0, 0.2, 0.0)]
        sound = render_sound(contacts, impacts, materials, "", 1.0, 16_000, np.random.default_rng(4))
        spectrum = np.abs(np.fft.rfft(sound[round(0.3 * 16_000) :])) ** 2
        high = np.fft.rfftfreq(round(0.7 * 16_000), 1 / 16_000) > 2500
        levels.append(10 * np.log10(spectrum[high].sum()))
    assert levels[1] > levels[0] + 6  # metal rings, rubber only damps the cloth
