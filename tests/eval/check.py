"""Computes the figures of `facesocial eval` again with scikit-learn, from the scores that it writes, and compares.

    python check.py TASK REPORT.json SCORES.csv [BOXES.csv]

REPORT.json is what --json wrote, SCORES.csv what --scores wrote. Detection also needs the labelled boxes, all of which must
have been measured: no --limit. Prints how many figures were compared; every figure that differs by more than the last of six
digits is named, and the exit code is then 1.
"""

import csv
import json
import sys

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    mean_absolute_error,
    precision_recall_curve,
    recall_score,
    roc_auc_score,
    roc_curve,
)

# Of six digits the last may be rounded the other way.
TOLERANCE = 1.5e-6


class Check:
    """Compares figures by name."""

    def __init__(self):
        self.compared = 0
        self.wrong = []

    def same(self, name, told, computed):
        self.compared += 1
        if told is None or not abs(told - computed) <= TOLERANCE:
            self.wrong.append(f"{name}: told {told}, computed {computed}")


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def flags(rows, column):
    return np.array([row[column] == "1" for row in rows])


def numbers(rows, column):
    return np.array([float(row[column]) for row in rows])


def curve(labels, scores):
    return roc_curve(labels, scores, drop_intermediate=False)


def equal_error_rate(labels, scores):
    """Where the curve, as straight lines, rejects as large a share of positives as it accepts of negatives."""
    fpr, tpr, _ = curve(labels, scores)
    gap = fpr - (1 - tpr)
    after = int(np.argmax(gap >= 0))
    if after == 0:
        return fpr[0]
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return fpr[after - 1] + share * (fpr[after] - fpr[after - 1])


def at_rate(labels, scores, target):
    """The laxest point whose rate of accepted negatives is at most the target: threshold, that rate, accepted positives."""
    fpr, tpr, thresholds = curve(labels, scores)
    last = int(np.nonzero(fpr <= target + 1e-12)[0][-1])
    return thresholds[last], fpr[last], tpr[last]


def compare_threshold(check, name, told, computed):
    # Where nothing may be accepted scikit-learn says infinity, and the program a hair above the best score.
    if np.isfinite(computed):
        check.same(name, told, computed)


def verification(check, report, rows):
    labels = flags(rows, "same")
    for model in report["models"]:
        name = model["model"]
        seen = np.array([row[name] != "" for row in rows])
        scores = np.array([float(row[name]) if row[name] else np.nan for row in rows])
        check.same(f"{name} AUC", model["auc"], roc_auc_score(labels[seen], scores[seen]))
        check.same(f"{name} EER", model["eer"], equal_error_rate(labels[seen], scores[seen]))
        for point in model["operating_points"]:
            threshold, far, tar = at_rate(labels[seen], scores[seen], point["far_target"])
            where = f"{name} at FAR {point['far_target']}"
            compare_threshold(check, f"{where} threshold", point["threshold"], threshold)
            check.same(f"{where} FAR", point["far"], far)
            # Pairs of the same person without a face are rejected.
            check.same(f"{where} TAR", point["tar"], tar * labels[seen].sum() / labels.sum())
        accuracies = fold_accuracies(rows, labels, scores)
        check.same(f"{name} accuracy", model["accuracy"], np.mean(accuracies))
        check.same(f"{name} deviation", model["accuracy_std"], np.std(accuracies))


def fold_accuracies(rows, labels, scores):
    """Each fold decided with the threshold that is best on the others."""
    named = [row["fold"] for row in rows]
    if all(named):
        folds = np.unique(named, return_inverse=True)[1]
    else:
        count = min(10, labels.sum(), (~labels).sum())
        folds = np.empty(len(rows), dtype=int)
        for kind in (labels, ~labels):
            folds[kind] = np.arange(kind.sum()) * count // kind.sum()
    accuracies = []
    for fold in range(folds.max() + 1):
        others = (folds != fold) & ~np.isnan(scores)
        values = np.unique(scores[others])
        # Below all, half-way between neighbours, above all.
        candidates = np.concatenate([[values[0]], (values[:-1] + values[1:]) / 2, [np.nextafter(values[-1], np.inf)]])
        right = np.array([((scores[others] >= c) == labels[others]).sum() for c in candidates])
        best = np.nonzero(right == right.max())[0]
        threshold = candidates[best[len(best) // 2]]
        own = folds == fold
        decided = (scores[own] >= threshold) == labels[own]
        accuracies.append((decided & ~np.isnan(scores[own])).mean())
    return accuracies


def identification(check, report, rows):
    for model in report["models"]:
        name = model["model"]
        own = [row for row in rows if row["model"] == name]
        mated = [row for row in own if row["mated"] == "1"]
        strangers = [row for row in own if row["mated"] == "0"]
        ranks = np.array([int(row["rank"]) if row["rank"] else 10**9 for row in mated])
        for rank, told in enumerate(model["cumulative_match"], start=1):
            check.same(f"{name} rank {rank}", told, (ranks <= rank).mean())
        right = np.array([float(row["right_score"]) if row["right_score"] else -np.inf for row in mated])
        wrong = np.array([float(row["wrong_score"]) if row["wrong_score"] else -np.inf for row in strangers])
        for point in model["operating_points"]:
            where = f"{name} at FPIR {point['fpir_target']}"
            # The lowest threshold among all that make a difference, each a hair above a stranger's score.
            scores = np.concatenate([[-1.0], np.nextafter(wrong, np.inf)])
            allowed = [t for t in scores if (wrong >= t).mean() <= point["fpir_target"] + 1e-12]
            threshold = min(allowed)
            check.same(f"{where} threshold", point["threshold"], threshold)
            check.same(f"{where} FPIR", point["fpir"], (wrong >= threshold).mean())
            check.same(f"{where} FNIR", point["fnir"], 1 - ((ranks == 1) & (right >= threshold)).mean())


def antispoof(check, report, rows):
    live = ~flags(rows, "spoof")
    scores = numbers(rows, "score")
    check.same("AUC", report["auc"], roc_auc_score(live, scores))
    check.same("EER", report["eer"], equal_error_rate(live, scores))
    called_live = np.array([row["decision"] == "live" for row in rows])
    species = np.array([row["species"] for row in rows])
    bpcer = 1 - recall_score(live, called_live)
    apcer = max(called_live[~live & (species == s)].mean() for s in np.unique(species[~live]))
    check.same("APCER", report["apcer"], apcer)
    check.same("BPCER", report["bpcer"], bpcer)
    check.same("ACER", report["acer"], (apcer + bpcer) / 2)
    for point in report["bpcer_at_apcer"]:
        threshold, far, tar = at_rate(live, scores, point["apcer_target"])
        where = f"at APCER {point['apcer_target']}"
        compare_threshold(check, f"{where} threshold", point["threshold"], threshold)
        check.same(f"{where} APCER", point["apcer"], far)
        check.same(f"{where} BPCER", point["bpcer"], 1 - tar)


def deepfake(check, report, rows):
    fake = flags(rows, "fake")
    scores = numbers(rows, "score")
    check.same("AUC", report["auc"], roc_auc_score(fake, scores))
    check.same("EER", report["eer"], equal_error_rate(fake, scores))
    for point in report["operating_points"]:
        threshold, far, tar = at_rate(fake, scores, point["false_alarm_target"])
        where = f"at false alarms {point['false_alarm_target']}"
        compare_threshold(check, f"{where} threshold", point["threshold"], threshold)
        check.same(f"{where} rate", point["false_alarm_rate"], far)
        check.same(f"{where} found", point["found"], tar)
    check.same("Brier", report["calibration"]["brier"], brier_score_loss(fake, scores))
    bins = np.minimum((scores * 10).astype(int), 9)
    ece = sum((bins == b).mean() * abs(scores[bins == b].mean() - fake[bins == b].mean()) for b in np.unique(bins))
    check.same("ECE", report["calibration"]["ece"], ece)
    decisions = np.array([row["decision"] for row in rows])
    check.same("photographs called fakes", report["decisions"]["real_called_fake"], (~fake & (decisions == "fake")).sum())
    check.same("fakes called photographs", report["decisions"]["fake_called_real"], (fake & (decisions == "real")).sum())


def age_gender(check, report, rows):
    age, said = numbers(rows, "age"), numbers(rows, "said_age")
    gender = np.array([row["gender"] for row in rows])
    said_gender = np.array([row["said_gender"] for row in rows])
    check.same("MAE", report["age"]["mae"], mean_absolute_error(age, said))
    check.same("bias", report["age"]["bias"], (said - age).mean())
    check.same("gender", report["gender"]["accuracy"], accuracy_score(gender, said_gender))
    for decade in report["decades"]:
        own = (age // 10).astype(int) * 10 == decade["from"]
        check.same(f"MAE from {decade['from']}", decade["mae"], mean_absolute_error(age[own], said[own]))
        told = decade["gender_accuracy"]
        check.same(f"gender from {decade['from']}", told, accuracy_score(gender[own], said_gender[own]))
    groups = np.array([row["group"] for row in rows])
    for group in report.get("age_by_group", []):
        own = groups == group["group"]
        check.same(f"MAE of {group['group']}", group["mae"], mean_absolute_error(age[own], said[own]))


def detection(check, report, rows, boxes):
    labelled = {}
    for row in boxes:
        corners = [float(row[c]) for c in ("x1", "y1", "x2", "y2")]
        labelled.setdefault(row["file"], []).append(corners)
    files = set(labelled) | {row["file"] for row in rows}
    for detector in report["detectors"]:
        name = detector["detector"]
        found = {file: [] for file in files}
        for row in rows:
            if row["detector"] == name:
                found[row["file"]].append([float(row[c]) for c in ("x1", "y1", "x2", "y2", "score")])
        areas = [average_precision(labelled, found, iou) for iou in np.arange(0.5, 0.96, 0.05)]
        check.same(f"{name} boxes", detector["all"]["boxes"], sum(map(len, labelled.values())))
        check.same(f"{name} AP50", detector["all"]["average_precision"], areas[0])
        check.same(f"{name} AP50:95", detector["all"]["average_precision_50_95"], np.mean(areas))


def average_precision(labelled, found, min_iou):
    """Area under the interpolated curve; each labelled box is taken once, by the surest detection that covers it best."""
    hits, scores = [], []
    for file, detections in found.items():
        truths = np.array(labelled.get(file, []), dtype=np.float32).reshape(-1, 4)
        taken = np.zeros(len(truths), dtype=bool)
        for detection in sorted(detections, key=lambda d: -d[4]):
            overlap = np.where(taken, -1, intersection_over_union(np.array(detection[:4], dtype=np.float32), truths))
            hit = len(truths) > 0 and overlap.max() >= np.float32(min_iou)
            if hit:
                taken[int(overlap.argmax())] = True
            hits.append(hit)
            scores.append(detection[4])
    if not any(hits):
        return 0.0
    precision, recall, _ = precision_recall_curve(hits, scores)
    # From the strictest threshold to the laxest; the precision at a recall is the best at that or a higher one.
    precision, recall = precision[::-1], recall[::-1]
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    reached = sum(hits) / sum(map(len, labelled.values()))
    return float(np.sum(np.diff(recall) * envelope[1:]) * reached)


def intersection_over_union(box, others):
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return shared / (area + (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1]) - shared)


def main():
    task, report, scores, *boxes = sys.argv[1:]
    with open(report, encoding="utf-8") as file:
        report = json.load(file)
    rows = rows_of(scores)
    check = Check()
    if task == "detection":
        detection(check, report, rows, rows_of(boxes[0]))
    else:
        tasks = {
            "verification": verification,
            "identification": identification,
            "antispoof": antispoof,
            "deepfake": deepfake,
            "age-gender": age_gender,
        }
        tasks[task](check, report, rows)
    for line in check.wrong:
        print(line)
    print(f"{task}: {check.compared} figures compared, {len(check.wrong)} differ by more than {TOLERANCE}")
    sys.exit(1 if check.wrong or not check.compared else 0)


if __name__ == "__main__":
    main()
