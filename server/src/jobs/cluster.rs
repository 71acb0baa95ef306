//! Groups of points that lie close together, by density (DBSCAN, Ester et al. 1996): a point with enough neighbours is a
//! core, cores that are neighbours belong together, and a point beside a core joins its group. All others stay alone.

/// Which points are alike, with their similarity.
#[derive(Debug, Default)]
pub struct Neighbours {
    of: Vec<Vec<(u32, f32)>>,
}

/// Points that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The points, ascending.
    pub members: Vec<u32>,
    /// Mean similarity of the neighbours within the group.
    pub mean_similarity: f32,
}

impl Neighbours {
    /// `points` points that have no neighbours yet.
    pub fn new(points: usize) -> Self {
        Self { of: vec![Vec::new(); points] }
    }

    /// Makes two points neighbours of each other. The same pair may be added from both sides.
    pub fn add(&mut self, a: u32, b: u32, similarity: f32) {
        if a == b {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            if let Some(list) = self.of.get_mut(from as usize) {
                list.push((to, similarity));
            }
        }
    }

    /// The groups, largest first. A point is a core if it and its neighbours are at least `min_faces`.
    pub fn groups(mut self, min_faces: usize) -> Vec<Group> {
        for list in &mut self.of {
            list.sort_by(|x, y| x.0.cmp(&y.0).then(y.1.total_cmp(&x.1)));
            list.dedup_by_key(|(to, _)| *to);
        }
        let core = |p: u32| self.of[p as usize].len() + 1 >= min_faces;
        let mut sets = Sets::new(self.of.len());
        for (p, list) in points(&self.of).filter(|(p, _)| core(*p)) {
            for (q, _) in list.iter().filter(|(q, _)| core(*q)) {
                sets.join(p, *q);
            }
        }
        // Only after the cores: a point between two groups must not join them.
        let mut group_of: Vec<Option<u32>> = vec![None; self.of.len()];
        for (p, list) in points(&self.of) {
            let nearest =
                || list.iter().filter(|(q, _)| core(*q)).max_by(|x, y| x.1.total_cmp(&y.1).then(y.0.cmp(&x.0)));
            let anchor = if core(p) { Some(p) } else { nearest().map(|(q, _)| *q) };
            group_of[p as usize] = anchor.map(|a| sets.root(a));
        }
        let mut groups: std::collections::BTreeMap<u32, (Vec<u32>, f64, u64)> = std::collections::BTreeMap::new();
        for (p, list) in points(&self.of) {
            let Some(root) = group_of[p as usize] else { continue };
            let (members, sum, pairs) = groups.entry(root).or_default();
            members.push(p);
            for (_, similarity) in list.iter().filter(|(q, _)| *q > p && group_of[*q as usize] == Some(root)) {
                *sum += f64::from(*similarity);
                *pairs += 1;
            }
        }
        let mut groups: Vec<Group> = groups
            .into_values()
            .map(|(members, sum, pairs)| Group { members, mean_similarity: (sum / pairs.max(1) as f64) as f32 })
            .collect();
        groups.sort_by(|a, b| b.members.len().cmp(&a.members.len()).then(a.members.cmp(&b.members)));
        groups
    }
}

fn points(of: &[Vec<(u32, f32)>]) -> impl Iterator<Item = (u32, &Vec<(u32, f32)>)> {
    (0u32..).zip(of)
}

/// Disjoint sets.
struct Sets(Vec<u32>);

impl Sets {
    fn new(points: usize) -> Self {
        Self((0u32..).take(points).collect())
    }

    fn root(&mut self, mut p: u32) -> u32 {
        while self.0[p as usize] != p {
            // Halving the path keeps later walks short.
            self.0[p as usize] = self.0[self.0[p as usize] as usize];
            p = self.0[p as usize];
        }
        p
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b) as usize] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use facesocial_types::{Embedding, ModelId};

    use super::*;

    /// Embeddings on the unit circle, in degrees: their similarity is the cosine of the angle between them.
    fn circle(degrees: &[f32], min_similarity: f32) -> Neighbours {
        let model = ModelId::new("circle", "1");
        let at = |d: &f32| Embedding::new(model.clone(), vec![d.to_radians().cos(), d.to_radians().sin()]).unwrap();
        let embeddings: Vec<Embedding> = degrees.iter().map(at).collect();
        let mut found = Neighbours::new(degrees.len());
        for (i, a) in (0u32..).zip(&embeddings) {
            for (j, b) in (0u32..).zip(&embeddings) {
                let similarity = a.cosine(b).unwrap();
                if similarity >= min_similarity {
                    found.add(i, j, similarity);
                }
            }
        }
        found
    }

    fn members(groups: &[Group]) -> Vec<Vec<u32>> {
        groups.iter().map(|g| g.members.clone()).collect()
    }

    const TEN_DEGREES: f32 = 0.984;

    #[test]
    fn dense_points_belong_together_and_single_ones_stay_alone() {
        let found = circle(&[0.0, 3.0, 6.0, 90.0, 93.0, 96.0, 99.0, 180.0, 270.0, 273.0], TEN_DEGREES);
        let groups = found.groups(3);
        assert_eq!(members(&groups), [vec![3, 4, 5, 6], vec![0, 1, 2]]);
        assert!(groups.iter().all(|g| (TEN_DEGREES..=1.0).contains(&g.mean_similarity)), "{groups:?}");
    }

    #[test]
    fn two_are_a_group_where_two_are_enough() {
        let found = circle(&[0.0, 3.0, 90.0], TEN_DEGREES);
        assert_eq!(members(&found.groups(2)), [vec![0, 1]]);
    }

    #[test]
    fn a_chain_of_cores_is_one_group_and_its_ends_join_it() {
        // Neighbours are at most 8 degrees apart: the ends have one neighbour each and are no cores.
        let found = circle(&[0.0, 8.0, 16.0, 24.0, 32.0], TEN_DEGREES);
        assert_eq!(members(&found.groups(3)), [vec![0, 1, 2, 3, 4]]);
    }

    #[test]
    fn a_point_between_two_groups_joins_the_nearer_and_does_not_merge_them() {
        // With its neighbours the point at 20 counts three, one too few for a core.
        let found = circle(&[0.0, 1.0, 2.0, 11.0, 20.0, 30.0, 39.0, 40.0, 41.0], TEN_DEGREES);
        let groups = members(&found.groups(4));
        assert_eq!(groups, [vec![0, 1, 2, 3, 4], vec![5, 6, 7, 8]]);
    }

    #[test]
    fn nothing_gives_nothing() {
        assert!(Neighbours::new(0).groups(3).is_empty());
        assert!(circle(&[0.0, 90.0, 180.0], TEN_DEGREES).groups(2).is_empty());
    }

    #[test]
    fn the_mean_is_of_each_pair_once() {
        let mut found = Neighbours::new(2);
        found.add(0, 1, 0.5);
        found.add(1, 0, 0.5);
        assert_eq!(found.groups(2), [Group { members: vec![0, 1], mean_similarity: 0.5 }]);
    }
}
