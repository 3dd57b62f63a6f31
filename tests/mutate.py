"""Break one line of a core module at a time and expect a red test: `make mutate`.

In:  MUTATIONS: file, what stands there, what shall stand there, the tests that must notice.
Out: a line for each; exit 1 if a mutation survives or if its line is no longer there.

Works on a copy of the repository in a temporary folder; this tree is never touched.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["MUTATIONS", "main"]

REPOSITORY = Path(__file__).resolve().parent.parent
# (file, old, new, tests)
MUTATIONS = [
    ("fer_data/faces/views.py", "divmod(k, len(ANGLES_DEG) * 2)", "divmod(k, len(ANGLES_DEG))", "tests/test_views.py"),
    ("fer_data/faces/views.py", "MARGIN = 11 ", "MARGIN = 10 ", "tests/test_views.py"),
    ("fer_data/faces/views.py", "math.radians(view.angle_deg)", "-math.radians(view.angle_deg)", "tests/test_views.py"),
    ("fer_data/faces/views.py", "cv2.flip(views[k], 1,", "cv2.flip(views[k], 0,", "tests/test_views.py"),
    ("fer_data/store/loader.py", "align_corners=True", "align_corners=False", "tests/test_views.py"),
    ("fer_data/store/loader.py", "faces.to(torch.float32), grid", "faces.to(torch.bfloat16), grid.bfloat16()", "tests/test_views.py"),
    ("fer_data/store/loader.py", "SeedSequence([seed, epoch])", "SeedSequence([seed])", "tests/test_views.py"),
    ("fer_data/store/loader.py", ".mul_(127.5).round_()", ".mul_(127.5)", "tests/test_views.py"),
    ("fer_data/faces/align.py", "(-0.694, 0.010)", "(-0.594, 0.010)", "tests/test_align.py"),
    ("fer_data/faces/align.py", "@ matrix[:, :2].T + matrix[:, 2]", "@ matrix[:, :2] + matrix[:, 2]", "tests/test_align.py"),
    ("fer_data/faces/align.py", "[factor, 0, (factor - 1) / 2]", "[factor, 0, 0]", "tests/test_align.py"),
    ("fer_data/faces/align.py", "if scale < 0.5 else 1", "if scale < 0 else 1", "tests/test_align.py"),
    ("fer_data/faces/align.py", "x > shape[1] - 0.5", "x > shape[1] + 9", "tests/test_align.py"),
    # databases that are read by a form, and joined folders
    ("fer_data/datasets/described.py", 'broken = form.broken.get(said["sequence"].upper())', "broken = None", "tests/test_described.py -k black"),
    ("fer_data/datasets/described.py", 'if row["subject"].upper() != entry["subject"]:', "if False:", "tests/test_described.py -k wsefep_needs"),
    ("fer_data/protocol/peaks.py", "first = min(4 * count // 5, count - 3)", "first = count - 3", "tests/test_described.py -k last_fifth"),
    ("fer_data/prepare/join.py", 'subject = joined_id(row["dataset"], row["subject"])', 'subject = row["subject"]', "tests/test_join.py -k people"),
    ("fer_data/prepare/join.py", "if read(first.settings) != read(part.settings):", "if False:", "tests/test_join.py -k kinds"),
    ("fer_data/prepare/join.py", "if same_pictures(one, other) or ", "if one == other or ", "tests/test_join.py -k same_pictures"),
    # what lies on disk
    ("fer_data/store/folder.py", "if held != dataset:", "if False:", "tests/test_folder.py -k another_database"),
    ("fer_data/store/folder.py", "lambda path: path.name in before", "lambda path: True", "tests/test_folder.py -k of_others"),
    ("fer_data/store/folder.py", 'out.glob(f"{pattern}.part")', 'out.glob("*.part")', "tests/test_folder.py -k left_overs"),
    ("fer_data/store/folder.py", "if root.resolve() in (out.resolve(), *out.resolve().parents):",
     "if root == out:", "tests/test_folder.py -k into_the_database"),
    ("fer_data/store/manifest.py", '"report.html", "card.md", "croissant.json"):', '"report.html"):', "tests/test_folder.py -k outlive"),
    ("fer_data/store/manifest.py", "    if changed:", "    if True:", "tests/test_folder.py -k the_same_again"),
    ("fer_data/store/manifest.py", "if sha256_of_bytes(data) != wanted:", "if False:", "tests/test_verify.py -k any_file"),
    ("fer_data/store/manifest.py", "if not _SHARD.fullmatch(name)", "if False", "tests/test_readers.py -k name_of_ours"),
    ("fer_data/files.py", "if seal != _SEAL % sha256_of_bytes(start).encode():", "if False:", "tests/test_readers.py -k sealed_object"),
    ("fer_data/files.py", "            part.replace(path)\n        except BaseException:", "            part.replace(path)\n        except OSError:", "tests/test_files.py -k interrupt"),
    ("fer_data/prepare/cluster.py", "if here != expected.get(name):", "if False:", "tests/test_cluster.py -k other_code"),
    ("fer_data/store/shards.py", "return read(ShardRecord, content)", "return ShardRecord(**content)", "tests/test_verify.py -k with_care"),
    ("fer_data/schema.py", "for name in value if closed else ():", "for name in ():", "tests/test_readers.py -k does_not_fit"),
    ("fer_data/files.py", "if not ours(path)) if", "if False) if", "tests/test_folder.py -k of_others"),
    ("fer_data/doctor/checks.py", '"excluded" if part.operator == "!=" else ', "", "tests/test_doctor.py -k excluded"),
    ("fer_data/store/untrusted.py", "if values.shape != shape:", "if False:", "tests/test_verify.py -k another_shape"),
    ("fer_data/store/cache.py", "content = unseal(path.read_bytes())",
     "content = __import__('json').loads(path.read_bytes())", "tests/test_verify.py -k not_believed"),
    ("fer_data/audit/check_split.py", "read_manifest(path)  #", "#", "tests/test_readers.py -k newer_schema"),
    # what is handed on
    ("fer_data/share/samples.py", "!= row.face_sha256:", '== "":', "tests/test_export.py -k damaged"),
    ("fer_data/share/samples.py", 'frame[frame["role"] == "peak"]', "frame", "tests/test_export.py -k references"),
    ("fer_data/share/formats.py", 'yield f"fold_{fold}/{name}/", b""', "pass", "tests/test_export.py -k same_classes"),
    ("fer_data/share/export.py", 'lambda path: path.name == f"{MARK}.part"', "lambda path: True", "tests/test_export.py -k nothing_of"),
    ("fer_data/share/export.py", "if not plan.terms.public:", "if False:", "tests/test_export.py -k licensed_faces"),
    ("fer_data/share/words.py", "{escape(apart.text)} Test", "No person is in two folds. Test", "tests/test_card.py -k two_folds"),
    ("fer_model/report/card.py", "if len(methods) != 1:", "if not methods:", "tests/test_model_card.py -k one_method"),
    # pictures from the web
    ("fer_data/datasets/rafdb.py", 'if "0" in codes:', "if False:", "tests/test_web_databases.py -k count_from_0"),
    ("fer_data/datasets/affectnet.py", "(x, y, x + width - 1, y + height - 1)", "(x, y, width, height)", "tests/test_web_databases.py -k corner"),
    ("fer_data/datasets/affectnet.py", "allow_pickle=False", "allow_pickle=True", "tests/test_web_databases.py -k unpickled"),
    ("fer_data/datasets/expw.py", "_, top, left_px, right, bottom", "_, left_px, top, right, bottom", "tests/test_web_databases.py -k expw_faces"),
    ("fer_data/faces/landmarks/none.py", "return [boxes] if any(boxes) else []", "return []", "tests/test_adapters_prepare.py -k box_that"),
    # folds and facts
    ("fer_data/protocol/folds.py", "rank % folds for rank, subject",
     "rank // folds % folds for rank, subject", "tests/test_folds.py -k literature"),
    ("fer_data/protocol/folds.py", "shuffle=True, random_state=seed", "shuffle=False", "tests/test_folds.py -k seeds_decide"),
    ("fer_data/protocol/folds.py", "for rank, subject in enumerate(subjects) for _ in labels[subject]]",
     "for rank, subject in enumerate(reversed(subjects)) for _ in labels[subject]]", "tests/test_folds.py -k balanced"),
    ("fer_data/protocol/folds.py", "\"shuffled\", folds, seed + repetition)",
     "\"shuffled\", folds, seed)", "tests/test_folds.py -k repetitions"),
    ("fer_data/protocol/folds.py", "np.all(rest - counts[index] > 0)", "np.all(rest - counts[index] >= 0)", "tests/test_folds.py -k inner"),
    ("fer_data/protocol/folds.py", "int(np.argmin(distance))", "int(np.argmax(distance))", "tests/test_folds.py -k inner"),
    ("fer_data/protocol/folds.py", "folds[folds.map(len) > 1]", "folds[folds.map(len) > 2]", "tests/test_folds.py -k refused"),
    ("fer_data/protocol/folds.py", "sorted(set(subjects), key=natural_key)",
     "list(dict.fromkeys(subjects))", "tests/test_folds.py -k order"),
    ("data_manifests/ck_plus.json", '"fear": 25', '"fear": 26', "tests/test_facts.py"),
    ("data_manifests/ck_plus_folds.csv", "S010,1", "S010,2", "tests/test_facts.py"),
    ("data_manifests/mmi.json", '"images": 624', '"images": 625', "tests/test_facts.py"),
    # the model's report
    ("fer_model/report/paper.py", '"DE-GAN(Ours)", "Static", 97.36', '"DE-GAN(Ours)", "Static", 97.30', "tests/test_model_paper.py"),
    ("fer_model/evaluate/paired.py", 'join="inner"', 'join="outer"', "tests/test_model_paired.py"),
    ("fer_model/evaluate/paired.py", 'rows["subject"].to_numpy() if known else np.arange(len(rows))', "np.arange(len(rows))",
     "tests/test_model_paired.py -k scipy"),
    ("fer_model/evaluate/paired.py", "        if differs.any():", "        if False:", "tests/test_model_paired.py -k disagree"),
    ("fer_model/runs/differences.py", 'name not in ("fold", "seed")', 'name not in ("fold",)', "tests/test_model_report.py -k configuration"),
    ("fer_model/runs/differences.py", " if name not in idle}", "}", "tests/test_model_pooled.py -k idle_stage"),
    ("fer_model/runs/folder.py", "used(asdict(started))", "asdict(started)", "tests/test_model_ablations.py -k of_before"),
    ("fer_model/runs/taken_over.py", "used(asdict(c)).items()", "asdict(c).items()", "tests/test_model_ablations.py -k of_before"),
    ("fer_model/stages/autoencoder.py", "distributed.size() > 1 and each % 4", "False", "tests/test_model_deae.py -k whole_fours"),
    ("fer_model/runs/methods.py", "None if name.partition(\".\")[0] in idle else ", "", "tests/test_model_report.py -k settings_that_differ"),
    ("fer_model/runs/methods.py", "short if clear else name", "short", "tests/test_model_report.py -k two_stages"),
    ("fer_model/runs/predictions.py", "    if len(twice):", "    if False:", "tests/test_model_report.py -k two_folds"),
    ("fer_model/evaluate/paired.py", "paired = paired_difference(a, b,",
     "paired = paired_difference(b, a,", "tests/test_model_report.py -k those_of_the_shares"),
    ("fer_model/evaluate/pooled.py", "frames = [method.predictions(seed, folds) for seed in done]",
     "frames = [method.predictions(seed) for seed in done]", "tests/test_model_report.py -k spread_over_seeds"),
    # the audit: judging
    ("fer_data/audit/leaks.py", "leaked_images=sum(item.subject in trained",
     "leaked_images=sum(item.sequence in trained", "tests/test_audit.py"),
    ("fer_data/audit/leaks.py", "shared_images=sum(_frame(item) in frames",
     "shared_images=sum(item.image in fold.train", "tests/test_audit.py"),
    ("fer_data/audit/leaks.py", "(item.subject, item.sequence) for item in items",
     "(item.sequence,) for item in items", "tests/test_audit.py"),
    ("fer_data/audit/leaks.py", "tested_twice=sum(times[name] > 1", "tested_twice=sum(times[name] > 2", "tests/test_audit.py"),
    ("fer_data/audit/leaks.py", "never_tested=sum(times[name] == 0 for name in split.items)", "never_tested=0", "tests/test_audit.py"),
    ("fer_data/audit/leaks.py", "missing=_missing(classes, test),", "missing=_missing(classes, train),", "tests/test_audit.py"),
    ("fer_data/audit/leaks.py", "validation_leaked=sum(item.subject in trained",
     "validation_leaked=sum(item.subject in tested", "tests/test_audit.py"),
    ("fer_data/audit/leaks.py", "test_in_validation=sum(item.subject in chosen_on",
     "test_in_validation=sum(item.subject in trained", "tests/test_audit.py"),
    ("fer_data/audit/leaks.py", "(-example.leaked_images, natural_key", "(example.leaked_images, natural_key", "tests/test_audit.py"),
    ("fer_data/audit/leaks.py", "bool(self.pixels and self.pixels.exact)",
     "bool(self.pixels and self.pixels.near)", "tests/test_audit.py"),
    # the audit: reading
    ("fer_data/audit/sides.py", "if key not in tested), test)", "), test)", "tests/test_audit_read.py"),
    ("fer_data/audit/sides.py", "(*own.get(side, ()), *common.get(side, ()))",
     "tuple(own.get(side, ()))", "tests/test_audit_read.py"),
    ("fer_data/audit/sides.py", "if row.side != UNTESTED:", "if True:", "tests/test_audit_read.py"),
    ("fer_data/audit/read.py", "_without_places(row.path) if identity.frame",
     "row.path if identity.frame", "tests/test_audit_read.py"),
    ("fer_data/audit/read.py", "if len(set(hashes.values())) > 1:", "if False:", "tests/test_audit_read.py"),
    ("fer_data/audit/who.py", 'subject=f"{name.database}/{name.subject}"', "subject=name.subject", "tests/test_audit_read.py"),
    ("fer_data/audit/read.py", "if before.subject != item.subject:", "if False:", "tests/test_audit_read.py"),
    ("fer_data/audit/who.py", "torn = {who: some for who, some in people.items() if len(some) > 1}",
     "torn = {}", "tests/test_audit_read.py"),
    ("fer_data/audit/forms.py", "announced is not None and announced != count", "False", "tests/test_audit_read.py"),
    ("fer_data/audit/forms.py", 'if cell in ("", "-1") else cell', 'if cell == "" else cell', "tests/test_audit_read.py"),
    ("fer_data/text.py", '.replace("\\\\", "/")', "", "tests/test_audit_read.py"),
    ("fer_data/audit/forms.py", "if not entry:", "if False:", "tests/test_audit_read.py"),
    ("fer_data/audit/places.py", "return sides.pop() if len(sides) == 1 else None",
     "return sides.pop() if sides else None", "tests/test_audit_read.py"),
    ("fer_data/audit/subject_names.py", "_START, _END = r\"(?<![A-Za-z0-9])\"", "_START, _END = r\"\"", "tests/test_audit_read.py"),
    ("fer_data/audit/subject_names.py", "for identity in found}) != 1:", "for identity in found}) == 0:", "tests/test_audit_read.py"),
    # the audit: pixels, and how it reads
    ("fer_data/audit/near_duplicates.py", "(64, 64), interpolation=cv2.INTER_AREA",
     "(64, 64), interpolation=cv2.INTER_NEAREST", "tests/test_audit_pixels.py"),
    ("fer_data/audit/near_duplicates.py", "small[:, ::-1]", "small[::-1]", "tests/test_audit_pixels.py"),
    ("fer_data/audit/near_duplicates.py", "(people[a] != people[b])", "(people[a] >= 0)", "tests/test_audit_pixels.py"),
    ("fer_data/audit/near_duplicates.py", "(contents[a] != contents[b])", "(contents[a] >= 0)", "tests/test_audit_pixels.py"),
    ("fer_data/audit/near_duplicates.py", "(self.test[a] & self.train[b]) | (self.train[a] & self.test[b])",
     "(self.test[a] & self.train[b])", "tests/test_audit_pixels.py"),
    ("fer_data/audit/near_duplicates.py", "np.uint64(1 << number % 64)\n            for side",
     "np.uint64(1 << number % 32)\n            for side", "tests/test_audit_pixels.py"),
    ("fer_data/audit/check_split.py", "if len(ends) == 1 else None", "if ends else None", "tests/test_audit_pixels.py"),
    ("fer_data/audit/check_split.py", "if images is not None or trees:", "if images is not None:", "tests/test_audit_pixels.py"),
    ("fer_data/audit/text.py", "table.add_row(title, Text(line))", "table.add_row(\"\", Text(line))", "tests/test_audit_cli.py -k terminal"),
    ("fer_data/audit/text.py", "percent * _BAR * 8 / 100", "percent * _BAR * 4 / 100", "tests/test_audit_cli.py -k terminal"),
    ("fer_data/audit/text.py", "(Text(f\"{title:8}  {line}\") for", "(f\"{title:8}  {line}\" for", "tests/test_audit_cli.py -k markup"),
    ("cli/fer_data.py", 'report.verdict != "CLEAN" or (strict and report.doubtful) else 0', 'report.verdict != "CLEAN" else 0', "tests/test_audit_cli.py -k doubts"),
    # pictures and clips
    ("fer_data/pictures/decode.py", "cv2.IMREAD_COLOR_RGB)", "cv2.IMREAD_UNCHANGED)", "tests/test_adapters_pictures.py -k sixteen"),
    ("fer_data/pictures/decode.py", "half = (picture.shape[1] + 1) // 2",
     "half = picture.shape[1] // 2", "tests/test_adapters_pictures.py -k pixel"),
    ("fer_data/pictures/header.py", "            return _tiff(data)", "            return None", "tests/test_adapters_pictures.py -k claims"),
    ("fer_data/pictures/header.py", "data.find(b\"\\xff\\xd9\", jpeg_scan(data)[1])",
     "data.find(b\"\\xff\\xd9\")", "tests/test_adapters_pictures.py -k thumbnail"),
    ("fer_data/pictures/video.py", "clip = Clip(there.frames, stream.frames,",
     "clip = Clip(stream.frames, stream.frames,", "tests/test_video.py -k promises"),
    ("fer_data/pictures/video.py", "            if packet.size:\n                yield None\n", "", "tests/test_video.py -k its_place"),
    ("fer_data/pictures/video.py", "if frame.is_corrupt or packet.is_corrupt:", "if frame.is_corrupt:", "tests/test_video.py -k cut_short"),
    ("fer_data/pictures/video.py", "yield None if damaged else frame",
     "yield None if frame.is_corrupt else frame", "tests/test_video.py -k follows"),
    # adapters
    ("fer_data/datasets/tree.py", "return sorted(files, key=natural_key), sorted(left",
     "return files, sorted(left", "tests/test_adapters.py -k order"),
    ("fer_data/datasets/tree.py", '_LITTER_FOLDERS = {"__macosx",', '_LITTER_FOLDERS = {"__nix",', "tests/test_adapters.py -k pruned"),
    ("fer_data/datasets/ck_plus.py", "return Path(path).parts[-3:-1] != (match[1], match[2]), path",
     "return path", "tests/test_adapters.py -k copies"),
    ("fer_data/datasets/ck_plus.py", "except (ValueError, OverflowError):", "except ValueError:", "tests/test_adapters.py -k label_parser"),
    ("fer_data/datasets/ck48.py", "    if len(expressions) > 1:", "    if False:", "tests/test_adapters.py -k ck48"),
    ("fer_data/datasets/oulu_casia.py", "SPECTRA[spectrum], LIGHTS[light], tree)",
     "SPECTRA[spectrum], 'Strong', tree)", "tests/test_adapters.py -k oulu"),
    ("fer_data/datasets/oulu_casia.py", '("original", "cropped") if tree',
     '("cropped", "original") if tree', "tests/test_adapters.py -k oulu"),
    ("fer_data/datasets/bu4dfe.py", "([FM]\\d{{3}})", "([^/]+)", "tests/test_adapters.py -k bu4dfe"),
    ("fer_data/datasets/recognise.py", '    ("", is_mahnob,', '    ("", lambda root, files: False,', "tests/test_adapters.py -k named"),
    ("fer_data/datasets/published.py", "_differences({sequence.sequence_id for",
     "_differences({sequence.subject for", "tests/test_adapters.py -k missing"),
    ("fer_data/datasets/mmi.py", "session.code not in MMI_CODES:", "session.code > 6:", "tests/test_adapters_mmi.py -k six"),
    ("fer_data/datasets/mmi.py", "    if is_mahnob(root, files):", "    if False:", "tests/test_adapters_mmi.py -k laughter"),
    ("fer_data/datasets/mmi.py", "if listed and session.code and listed !=",
     "if listed and session.code and not listed !=", "tests/test_adapters_mmi.py -k list"),
    ("fer_data/datasets/mmi_xml.py", "(frame - 1, following - 2)", "(frame, following - 1)", "tests/test_adapters_mmi.py -k apex"),
    ("fer_data/datasets/mmi_xml.py", "    if 2 * most <= units:", "    if 2 * most < units:", "tests/test_adapters_mmi.py -k apex"),
    ("fer_data/datasets/mmi_xml.py", "from defusedxml.ElementTree import fromstring\n",
     "from xml.etree import ElementTree\nfromstring = lambda data, forbid_dtd: ElementTree.fromstring(data)\n", "tests/test_adapters_mmi.py -k dangerous"),
    # cropped faces, framings and neutral frames
    ("fer_data/faces/align.py", "middle - scale * (left + right) / 2]",
     "middle - scale * right / 2 - 1]", "tests/test_adapters_prepare.py -k cropped"),
    ("fer_data/prepare/sequence.py", 'framing not in ("left", "right"):', "framing:", "tests/test_adapters_prepare.py -k halves"),
    ("fer_data/prepare/sequence.py", "            if frame.source not in clips:\n", "            if True:\n", "tests/test_adapters_prepare.py -k clip"),
    ("fer_data/prepare/plan.py", 'if neutral != "off" and 0 not in chosen:',
     'if neutral != "off":', "tests/test_adapters_prepare.py -k first_frame"),
    ("fer_data/protocol/peaks.py", "first = (count - 1) // 4", "first = count // 4 + 1", "tests/test_open_databases.py -k evenly"),
    ("fer_data/records.py", "return Frame(self.source, positions + 1, positions)",
     "return Frame(self.source, positions, positions)", "tests/test_open_databases.py -k those_of_a_tuple"),
    ("fer_data/datasets/crema_d.py", 'if sentence == "IEO" and', "if", "tests/test_open_databases.py -k published_names"),
    ("fer_data/datasets/crema_d.py", 'columns.index("FaceVote")', 'columns.index("VoiceVote")', "tests/test_open_databases.py -k published_tables"),
    ("fer_data/datasets/crema_d.py", "if clip in BROKEN:", "if False:", "tests/test_open_databases.py -k broken_clips"),
    ("fer_data/datasets/crema_d.py", "for actor, rest in absent if actor in actors", "for actor, rest in absent", "tests/test_open_databases.py -k broken_clips"),
    ("fer_data/datasets/crema_d.py", 'if tuple(one.split("/")) not in chosen]', "]", "tests/test_open_databases.py -k never_published_and_is"),
    ("fer_data/datasets/crema_d.py", "elif vote in _VOTED:", "elif vote[:1] in _VOTED:", "tests/test_open_databases.py -k without_ties"),
    ("fer_data/datasets/crema_d.py", "() if drawn else load_facts", "load_facts", "tests/test_open_databases.py -k what_people_reach"),
    ("fer_data/datasets/crema_d.py", "(?:_0[12])?", "", "tests/test_open_databases.py -k copies_as_mp4"),
    ("fer_data/datasets/crema_d.py", '        if votes or labels == "face-vote":', "        if True:", "tests/test_open_databases.py -k elsewhere"),
    ("fer_data/datasets/clips.py", "if pointers and not sequences:", "if False:", "tests/test_open_databases.py -k lfs"),
    ("fer_data/datasets/clips.py", "digests.get(Path(path).name)", "digests.get(path)", "tests/test_open_databases.py -k compared"),
    ("fer_data/datasets/ravdess.py", 'both = what != "modality"', "both = True", "tests/test_open_databases.py -k taken_once"),
    ("fer_data/datasets/ravdess.py", "emotion <= _SUNG and ", "", "tests/test_open_databases.py -k trials_are_counted"),
    ("fer_data/datasets/ravdess.py", "    if not named:", "    if False:", "tests/test_open_databases.py -k not_there_is_said"),
    ("fer_data/datasets/ravdess.py", '["calm"] * (expression == "calm" and not calm)', "[]", "tests/test_open_databases.py -k choose_the_rest"),
    ("fer_model/report/protocol.py", "*_human(methods), ", "", "tests/test_model_report.py -k people_reach"),
    ("fer_model/report/report.py", "(*shares, *people, *counts)", "(*shares, *counts)", "tests/test_model_report.py -k people_reach"),
    ("fer_model/runs/folder.py", 'if "human" in prepared.settings else {}', "if False else {}", "tests/test_open_databases.py -k through_everything"),
    ("fer_data/synthetic/mmi.py", "    apex = length - 5 if coded else length // 2 - 1",
     "    apex = length // 2 - 1", "tests/test_adapters_synthetic.py -k thirty"),
    # cross-validation, pooling, voting views, other databases
    ("fer_model/data/fold.py", "return self.rows.assign(fold=people.map(dealt)", "return self.rows.assign(fold=self.rows[\"fold\"]", "tests/test_model_crossval.py -k anew_are"),
    ("fer_model/data/fold.py", 'rows["fold"].nunique(), 1, seed)', 'rows["fold"].nunique(), 1)', "tests/test_model_crossval.py -k anew_are"),
    ("fer_model/data/fold.py", "config.fold_rule, config.fold_seed)", "config.fold_rule)", "tests/test_model_trained.py -k drawn"),
    # missing cells
    ("fer_model/data/cells.py", "+ place // n_classes % 3)", "+ place % 3)", "tests/test_model_cells.py -k fourteen"),
    ("fer_model/data/cells.py", "dict.fromkeys(takes[half:], tested)", "dict.fromkeys(takes[count:], tested)", "tests/test_model_cells.py -k control_has"),
    ("fer_model/data/cells.py", "((i - place) % n_classes < more)", "(i < more)", "tests/test_model_cells.py -k control_has"),
    ("fer_model/data/cells.py", "generator=stream(seed, name, number))", "generator=stream(seed, name))", "tests/test_model_cells.py -k decided"),
    ("fer_model/data/cells.py", 'rows.drop_duplicates("take", keep="last")', 'rows.drop_duplicates("image_id")', "tests/test_model_cells.py -k last_picture"),
    ("fer_model/data/cells.py",
     "statistics.median_low(map(len, cells.values())) // 2", "min(map(len, cells.values())) // 2", "tests/test_model_cells.py -k last_picture"),
    ("fer_model/data/cells.py", "folds[number % len(folds)]\n", "folds[0]\n", "tests/test_model_cells.py -k left_out"),
    ("fer_model/data/cells.py", '_shuffled(shown, seed, f"left out of {who}", number)[:1]', '[shown[-1]]', "tests/test_model_cells.py -k left_out"),
    ("fer_model/data/cells.py", "    if groups != 1:", "    if False:", "tests/test_model_cells.py -k lacks"),
    ("fer_model/data/cells.py", "    if (shown > 1).any():", "    if False:", "tests/test_model_cells.py -k lacks"),
    ("fer_model/data/cells.py", "n_people < len(classes) or", "n_people < 2 or", "tests/test_model_cells.py -k lacks"),
    ("fer_model/config.py", "if self.fold_rule in CELL_RULES and", "if False and", "tests/test_model_cells.py -k no_folds"),
    ("fer_model/evaluate/cells.py", "wrong = unseen & ~right", "wrong = ~right", "tests/test_model_cells.py -k by_hand"),
    ("fer_model/evaluate/cells.py", "(mine - baseline) / np.where", "(control - mine) / np.where", "tests/test_model_cells.py -k by_hand"),
    ("fer_model/evaluate/cells.py",
     "keys = [key for key in arms[0].runs if all(key in arm.runs for arm in arms)]", "keys = list(arms[0].runs)", "tests/test_model_cells.py -k both_have"),
    ("fer_model/evaluate/cells.py",
     "pd.concat([self.counts[key] for key in keys]).groupby(level=0).sum().reindex(people, fill_value=0)", "pd.concat([self.counts[key] for key in keys])", "tests/test_model_cells.py -k stays_together"),
    ("fer_model/evaluate/cells.py",
     "np.where(control > baseline, control - baseline, np.nan)", "(control - baseline)", "tests/test_model_cells.py -k nothing_to_recover"),
    ("fer_model/evaluate/cells.py", "        if value != other[1][name]:", "        if False:", "tests/test_model_cells.py -k belong_together"),
    ("fer_model/evaluate/cells.py", 'if not one[f"n {part}"].equals(', 'if False and not one.equals(', "tests/test_model_cells.py -k tested_alike"),
    ("fer_model/runs/fold_runs.py", "    if rule in CELL_RULES:", "    if False:", "tests/test_model_cells.py -k never_taken"),
    ("fer_model/runs/predictions.py",
     'return frame[frame["part"] == "unseen"].reset_index(drop=True) if "part" in frame else frame', 'return frame', "tests/test_model_cells.py -k figures_of_one"),
    ("fer_model/shortcut.py", " if not refuse_other_run(task.job, prepared, wheres[0])]", "]", "tests/test_model_cells.py -k side_by_side"),
    ("fer_model/shortcut.py",
     "{self._name(self.method, rule): replace(self.method,", "{self._name(self.method, rule): replace(self.baseline,", "tests/test_model_cells.py -k side_by_side"),
    ("fer_model/shortcut.py", "        refuse_apart(given.path,", "        0 and refuse_apart(given.path,", "tests/test_model_cells.py -k end_to_end"),
    ("fer_model/shortcut.py", 'if text.partition("=")[0] in _FOLLOWS:', 'if False:', "tests/test_model_cells.py -k sets_itself"),
    ("fer_model/shortcut.py", '(f"-draws{method.fold_seed}" if method.fold_seed else "")', '""', "tests/test_model_cells.py -k by_default"),
    # settings by name, sweeps
    ("fer_model/settings.py", "layers = [*read, named]", "layers = [read[1], read[0], named]", "tests/test_model_settings.py -k each_layer"),
    ("fer_model/settings.py", "        if key in seen:", "        if False:", "tests/test_model_settings.py -k no_settings"),
    ("fer_model/settings.py", "    if node.tag not in _SIMPLE_TAGS:", "    if False:", "tests/test_model_settings.py -k no_settings"),
    ("fer_model/settings.py", "            if other and value is not None and", "            if other and", "tests/test_model_settings.py -k printed"),
    ("fer_model/settings_text.py", "    if len(whole) <= _LONGEST_SUFFIX:", "    if True:", "tests/test_model_settings.py -k name_holds"),
    ("fer_model/config.py", '    plain = repr(value).removesuffix(".0")', '    plain = f"{value:g}"', "tests/test_model_settings.py -k shown"),
    ("fer_model/job.py", "{name_suffix(config, always)}", "", "tests/test_model_settings.py -k two_folders"),
    ("cli/fer_model.py", "context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT", "True",
     "tests/test_model_settings.py -k dry_run"),
    ("fer_model/sweep.py", '(*DECIDING, "precision")', '(*DECIDING[:3], *DECIDING[4:], "precision")', "tests/test_model_sweep.py -k share"),
    ("fer_model/sweep.py", 'if "taken_from" not in stage', "if True", "tests/test_model_sweep.py -k share"),
    ("fer_model/crossval.py", "replace(dealt, fold=fold)", "dealt", "tests/test_model_crossval.py -k alone"),
    ("fer_model/crossval.py", " if not refuse_other_run(task.job, prepared, wheres[0])]", "]", "tests/test_model_crossval.py -k before"),
    ("fer_model/workers.py", "    except (FerError, OSError) as error:\n        return str(error)",
     "    except ZeroDivisionError as error:\n        return str(error)", "tests/test_model_crossval.py -k lose"),
    ("fer_model/workers.py", "    threading.Thread(target=_leave_with_parent, daemon=True).start()\n", "", "tests/test_model_crossval.py -m slow -k whatever"),
    ("fer_model/workers.py", "start_new_session=True", "start_new_session=False", "tests/test_model_crossval.py -m slow -k whatever"),
    ("fer_model/evaluate/pooled.py", "return Pooled(evaluate_together(frames), tuple(folds),",
     "return Pooled(evaluate_together(frames[:1]), tuple(folds),", "tests/test_model_pooled.py"),
    ("fer_model/evaluate/pooled.py", "np.std(values, ddof=1)", "np.std(values)", "tests/test_model_pooled.py"),
    ("fer_model/evaluate/pooled.py", "    if not elsewhere:", "    if False:", "tests/test_model_pooled.py"),
    ("fer_model/runs/methods.py", "np.ptp(passes) < 1e-4 * max(passes)", "False", "tests/test_model_pooled.py"),
    ("fer_model/engine/weights_file.py", "weights_only=True)", "weights_only=False)", "tests/test_model_weights_file.py -k environment_asks"),
    ("fer_model/engine/weights_file.py", "    if coverage < LEAST_COVERAGE:", "    if False:", "tests/test_model_weights_file.py -k refused_by"),
    ("fer_model/engine/weights_file.py", "if tensor.shape == wanted[name].shape}", "}", "tests/test_model_weights_file.py -k another_shape"),
    ("fer_model/runs/given_weights.py", "for network in (stage.learner.network, stage.used[stage.name]):", "for network in (stage.learner.network,):", "tests/test_model_weights_file.py -k is_taken"),
    ("fer_model/stages/own_network.py", "    if (name, sha256) in _ALLOWED:", "    if _ALLOWED:", "tests/test_model_own.py -k same_bits"),
    ("fer_model/stages/timm_network.py", "(x.expand(-1, 3, -1, -1) + 1) / 2", "x.expand(-1, 3, -1, -1)", "tests/test_model_timm.py -k grey"),
    ("fer_model/stages/any_network.py", "if not apart <= _SAME", "if not apart <= 1e9", "tests/test_model_timm.py -k tried"),
    ("fer_model/runs/methods.py", "return stage in AS_BASELINE and", "return False and", "tests/test_model_pooled.py"),
    ("fer_model/runs/methods.py", '"manifest": content["manifest_sha256"]', '"manifest": 0', "tests/test_model_pooled.py"),
    ("fer_model/evaluate/figures.py", "pd.concat([to_sequences(one) for one in frames], ignore_index=True)", "to_sequences(frame)", "tests/test_model_pooled.py"),
    ("fer_model/stages/classifier.py", "view_of(k).angle_deg == 0", "view_of(k).angle_deg >= 0", "tests/test_model_repredict.py -k vote"),
    ("fer_model/stages/classifier.py", ".softmax(1).cpu() for k in vote]", ".cpu() for k in vote]", "tests/test_model_repredict.py -k mean"),
    ("fer_model/stages/classifier.py", "torch.full_like(faces, k)", "torch.full_like(faces, CENTRE_VIEW)", "tests/test_model_repredict.py -k mean"),
    ("fer_model/stages/classifier.py", "torch.stack(each).double().mean(0)",
     "torch.stack(each).double().mean((0, 1), keepdim=True)[0].expand(len(faces), -1)", "tests/test_model_repredict.py -k order"),
    ("fer_model/evaluate/repredict.py", "lambda x: trained.logits(x)[:, keep], views, net.image_size, batch, VOTES[vote])",
     "trained.logits, views, net.image_size, batch, VOTES[vote])[:, keep]", "tests/test_model_repredict.py -k among"),
    ("fer_model/evaluate/repredict.py", "tuple(name for name in trained.classes if name in theirs)", "theirs", "tests/test_model_repredict.py -k other"),
    ("fer_data/people.py", "SAME_PEOPLE.get(dataset, dataset)", "dataset", "tests/test_model_repredict.py -k cropped"),
    ("fer_model/data/fold.py", "return {one_name(dataset, subject)", "return {subject", "tests/test_model_repredict.py -k refused"),
    ("fer_model/evaluate/repredict.py", ', *trained.content["validation_people"], *before["people"]]', "]", "tests/test_model_repredict.py -k shaped"),
    ("fer_model/evaluate/repredict.py", "    if met:\n", "    if False:\n", "tests/test_model_repredict.py -k refused"),
    ("fer_model/evaluate/repredict.py", "    if len(shared) < 2:", "    if len(shared) < 1:", "tests/test_model_repredict.py -k fewer"),
    ("fer_model/runs/trained.py", 'if fold.manifest_sha256 != self.content["manifest_sha256"]:', "if False:", "tests/test_model_trained.py -k data_are"),
    ("fer_model/runs/trained.py", "requires_grad_(False).eval()", "requires_grad_(False)", "tests/test_model_trained.py -k run_predicted"),
    ("fer_model/runs/trained.py", "requires_grad_(False).eval()", "eval()", "tests/test_model_trained.py -k learn"),
    ("fer_model/runs/trained.py", '["head"].predict(f, taps)', '["head"](f, taps)[0]', "tests/test_model_trained.py -k run_predicted"),
    ("fer_model/train.py", ", STAGES[name].watchers(inputs, folder.path))", ")", "tests/test_model_registry.py"),
    ("fer_model/engine/loop.py", "        watcher.on_end(stage)\n", "        pass\n", "tests/test_model_registry.py"),
    # ablations, model choice, pre-training
    ("fer_model/networks.py", 'config.variant == "both"\n', "True\n", "tests/test_model_ablations.py -k looks_at"),
    ("fer_model/stages/svm.py", "svm.fit((f - mean) / scale, labels)", "svm.fit(f, labels)", "tests/test_model_ablations.py -k scikit"),
    ("fer_model/stages/svm.py", "np.full(n_classes, -np.inf)", "np.zeros(n_classes)", "tests/test_model_ablations.py -k without_a_training"),
    ("fer_model/runs/taken_over.py", "if found is not None:", "if False:", "tests/test_model_ablations.py -k refused"),
    ("fer_model/engine/kept.py", "right > self.right", "right >= self.right", "tests/test_model_selection.py -k best_stays"),
    ("fer_model/engine/kept.py", "name: tensor.clone() for", "name: tensor for", "tests/test_model_selection.py -k best_stays"),
    # rivals and the stronger baseline
    ("fer_model/data/augment.py", "return (own * x + (1 - own)", "return ((1 - own) * x + own", "tests/test_model_augment.py -k by_hand"),
    ("fer_model/stages/classifier.py", "self.batches[member].at(step)", "self.batches[0].at(step)", "tests/test_model_rivals.py -k each_member"),
    ("fer_model/stages/cnn.py", "F.linear(features.detach(), weight, bias)", "F.linear(features, weight, bias)", "tests/test_model_rivals.py -k run_from"),
    ("fer_model/data/augment.py", "own + 1 + (drawn", "own + (drawn", "tests/test_model_rivals.py -k swap"),
    ("fer_model/data/batches.py", "shown = torch.bincount(cells_person)[person]", "shown = 3", "tests/test_model_rivals.py -k weights"),
    ("fer_model/stages/classifier.py", "super().weights() | chosen", "super().weights()", "tests/test_model_selection.py -k best_step"),
    ("fer_model/data/fold.py", "if not self.complete():", "if False:", "tests/test_model_selection.py -k after_training"),
    ("fer_model/data/fold.py", "train, tested = rows[~test].reset_index(drop=True)",
     "train, tested = rows.reset_index(drop=True)", "tests/test_model_selection.py -k noise_in"),
    ("fer_model/runs/pretrained.py", "*people_of(fold.test), *people_of(fold.validation)",
     "*people_of(fold.test)", "tests/test_model_pretrain.py -k held_out_person"),
    ("fer_model/runs/pretrained.py", ", mine[:, -n_noise:] = theirs[:, :n_f], theirs[:, -n_noise:]",
     " = theirs[:, :n_f]", "tests/test_model_pretrain.py -k carried_over_and"),
    # DE-AE
    ("fer_model/stages/autoencoder.py", "self.people.pick(expression, u[0]), anybody)", "anybody, anybody)", "tests/test_model_deae.py -k role"),
    ("fer_model/stages/autoencoder.py", "to(self.device), partner, x) ", "to(self.device), partner, partner) ", "tests/test_model_deae.py -k by_hand"),
    ("fer_model/stages/autoencoder.py", "(layers[LAST_LAYERS:], ~aimed)", "(layers, ~aimed)", "tests/test_model_deae.py -k by_hand"),
    ("fer_model/stages/autoencoder.py", "SEEN_WEIGHT = 0.5 ", "SEEN_WEIGHT = 1.0 ", "tests/test_model_deae.py -k by_hand"),
    ("fer_model/stages/critics.py", "step % self.n_pairs", "step * 0", "tests/test_model_deae.py -k take_turns"),
    ("fer_model/stages/critics.py", "network.eval().requires", "network.requires", "tests/test_model_deae.py -k take_turns"),
    ("fer_model/stages/critics.py", "return np.ones(len(fold.train), bool)",
     "return JudgesStage.learned_from(fold, config)", "tests/test_model_deae.py -k take_turns"),
    ("fer_model/stages/critics.py", ">= least", ">= 0", "tests/test_model_deae.py -k critics_agree"),
    ("fer_model/stages/recogniser.py", 'random_name = "cnn"', 'random_name = "recogniser"', "tests/test_model_deae.py -k is_the_baseline"),
    ("fer_model/stages/recogniser.py", "made, x[:n])", "made, made)", "tests/test_model_deae.py -k critics_agree"),
    ("fer_model/stages/recogniser.py", 'self.config.people == "other"', "True", "tests/test_model_deae.py -k critics_agree"),
    ("fer_model/networks.py", "self.f_scale * self.f_norm(f)", "self.f_scale * f", "tests/test_model_deae.py -k listens"),
    ("fer_model/networks.py", "self.embedding.init_std = 1.0", "self.embedding.init_std = 0.02", "tests/test_model_deae.py -k far_apart"),
    ("fer_model/networks.py", "0.5 * math.sqrt(embedding / config.representation)", "0.5", "tests/test_model_deae.py -k far_apart"),
    ("fer_model/losses.py", "return (fine + coarse) / 2", "return fine", "tests/test_model_deae.py -k by_hand"),
    ("fer_model/losses.py", "/ (other.abs().mean() + NO_FEATURE)", "/ 1", "tests/test_model_deae.py -k by_hand"),
    ("fer_model/data/augment.py", 'if part == "mean":', "if True:", "tests/test_model_rivals.py -k effect"),
    ("fer_model/config.py", '    "critics", "ae", "recogniser", "head.mixup"', '    "head.mixup"', "tests/test_model_config.py -k of_before"),
    ("fer_model/runs/taken_over.py", "config.stages[: config.stages.index(config.synthesiser) + 1]",
     "(config.synthesiser,)", "tests/test_model_deae.py -k taken_over"),
    ("fer_model/sweep.py", "json.dumps([mine.config.synthesiser, ", "json.dumps([", "tests/test_model_deae.py -k sweep"),
    ("fer_model/use/export.py", "for name in STAGES[trained.config.stages[-1]].networks}",
     "for name in trained.networks}", "tests/test_model_deae.py -k exported"),
    ("fer_model/use/transfer.py", "f, decoder = trained.generator.encoder(",
     'f, decoder = trained.networks["encoder"](', "tests/test_model_transfer.py -k edit_goes"),
    ("fer_model/evaluate/cells.py", "len(results), processor_minutes(results)", "len(results), 1.0", "tests/test_model_cells.py -k recovery_by_hand"),
    # prediction and export
    ("fer_data/faces/pose.py", "= 30, 36, 45 ", "= 30, 39, 42 ", "tests/test_pose.py"),
    ("fer_data/faces/landmarks/base.py", "<= _SAME_FACE for", "<= 9 for", "tests/test_landmarks_base.py -k all_faces"),
    ("fer_data/pictures/video.py", "frame.time - begin", "frame.time", "tests/test_video.py -k times_begin"),
    ("fer_data/faces/finder.py", "else align(picture, one.points, self.template)", "else align(picture, one.points + 1)", "tests/test_model_predict.py -k as_the_run"),
    ("fer_model/use/recipe.py", 'self.detector if own else "sfd"', '"sfd"', "tests/test_model_transfer.py -k detector_of_a_run"),
    ("fer_model/use/recipe.py", "faces_of_run(content) or {}",
     'faces_of_run(content) or {"landmarks": "dlib", "detector": ""}', "tests/test_model_predict.py -k stands_in"),
    ("fer_model/use/predictor.py", " or len(waiting) >= batch", "", "tests/test_model_predict.py -k long_clip"),
    ("fer_model/use/predictor.py", "one.patch_px < image_size", "one.eye_distance_px < image_size", "tests/test_model_predict.py -k fewer_pixels"),
    ("fer_model/use/export.py", "to_input_size(view, ", "to_input_size(view * 0.99, ", "tests/test_model_export.py -k torch_does"),
    ("fer_model/use/recipe.py", "    if theirs != ours:", "    if False:", "tests/test_model_export.py -k refused"),
]


def main() -> int:
    """Run every mutation, or those whose file name contains an argument; return the number of survivors."""
    chosen = [one for one in MUTATIONS if not sys.argv[1:] or any(word in one[0] + one[3] for word in sys.argv[1:])]
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".hypothesis", ".*_cache"))
        for file, old, new, tests in chosen:
            verdict = _run(copy, file, old, new, tests)
            survivors += not verdict.startswith("noticed")
            print(f"{verdict:60s} {file}: {old.strip()[:50]!r} -> {new.strip()[:50]!r}", flush=True)
    print(f"{len(chosen)} mutations, {survivors} survived")
    return survivors


def _run(copy: Path, file: str, old: str, new: str, tests: str) -> str:
    """Apply one mutation, run its tests, take it back; return the verdict."""
    path = copy / file
    text = path.read_text()
    if text.count(old) != 1:
        return f"STALE: its line stands there {text.count(old)} times"
    path.write_text(text.replace(old, new))
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *tests.split()]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, env=_environment())
    finally:
        path.write_text(text)
    if done.returncode == 1:
        failed = [line.split("::")[1].split(" ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED") and "::" in line]
        return f"noticed by {failed[0] if failed else '?'}"
    return "SURVIVED" if done.returncode in (0, 5) else f"noticed: nothing runs (pytest exit {done.returncode})"


def _environment() -> dict[str, str]:
    """Return the environment of the tests: the copy lies elsewhere, but reads the same references."""
    shared = REPOSITORY.parent / "shared"
    known = {"FER_REFERENCE": str(shared / "reference"), "FER_REAL_FACES": str(shared / "data" / "london")}
    return {**known, **os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
