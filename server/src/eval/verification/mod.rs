//! `facesocial eval verification`: accuracy of the recognition ensemble and of each of its members.

mod measure;
mod pairs;
mod similarities;
mod told;

use std::process::ExitCode;

use clap::Args;
use facesocial_pipeline::FarTarget;
use facesocial_types::Analyzer;

use self::{
    measure::{Measured, measure},
    pairs::read_pairs,
    similarities::Similarities,
};
use super::{
    BootstrapArgs, DataArgs,
    apply::{self, ApplyArgs},
    embedded::{self, EmbedArgs},
    tell,
};

/// Options of `facesocial eval verification`.
#[derive(Debug, Args)]
pub struct VerificationArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    embed: EmbedArgs,
    #[command(flatten)]
    bootstrap: BootstrapArgs,
    #[command(flatten)]
    apply: ApplyArgs,
}

/// Runs the command.
///
/// # Errors
/// See [`super`].
pub fn run(args: &VerificationArgs) -> anyhow::Result<ExitCode> {
    let data = &args.data;
    let target = args.apply.target(data)?;
    let table = data.table("pairs.csv");
    let pairs = read_pairs(&data.data, &table, data.limit(), data.group())?;
    let pipeline = data.load([Analyzer::Recognition].into_iter().collect(), args.apply.apply)?;
    let embedded = embedded::embed(&pipeline, data, args.embed, &pairs.images)?;
    let similarities = Similarities::of(&pairs, &embedded)?;
    if let Some(path) = &data.scores {
        similarities.write(path, &pairs)?;
    }
    let thresholds: Vec<_> = FarTarget::ALL.into_iter().filter_map(|t| Some((t, pipeline.threshold(t)?))).collect();
    let Measured { mut report, curves } = measure(&pairs, &similarities, args.bootstrap.bootstrap, &thresholds)?;
    report.pairs_file = table.display().to_string();
    report.detector = args.embed.detector.to_string();
    report.images_without_face = embedded.iter().filter(|e| e.is_none()).count();
    if let Some(path) = &target {
        report.applied = Some(apply::recognition(path, &pipeline.ensemble_id()?, &curves[0].1, &report.pairs_file)?);
    }
    tell(&report, data, |page| told::illustrate(page, &pairs, &similarities, &curves, &report))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use facesocial_types::{Embedding, ModelId};

    use super::{pairs::Pairs, *};
    use crate::eval::embedded::Embedded;

    /// Nine pairs over four "people", each photo a vector; photo 8 shows no face.
    pub(super) fn set() -> (tempfile::TempDir, Pairs, Vec<Embedded>) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        for i in 0..9 {
            let photo = facesocial_imaging::encode_png(&image::RgbImage::new(8, 8));
            fs::write(dir.path().join(format!("images/{i}.png")), photo).unwrap();
        }
        // Photos 2k and 2k+1 are of one person.
        let rows = "0.png,1.png,1,x\n2.png,3.png,1,x\n4.png,5.png,yes,y\n6.png,7.png,1,y\n0.png,8.png,1,y\n\
                    0.png,2.png,0,x\n1.png,4.png,0,x\n3.png,6.png,0,y\n5.png,7.png,no,y\n";
        let table = dir.path().join("pairs.csv");
        fs::write(&table, format!("file_x,file_y,Decision,group\n{rows}")).unwrap();
        let pairs = read_pairs(dir.path(), &table, None, None).unwrap();
        let embedded = pairs.images.iter().map(|path| {
            let number: usize = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            (number < 8).then(|| {
                let mut vector = vec![0.1; 4];
                vector[number / 2] = 1.0;
                let good = Embedding::new(ModelId::new("good", "1"), vector).unwrap();
                let blind = Embedding::new(ModelId::new("blind", "1"), vec![1.0, 0.0]).unwrap();
                vec![good, blind]
            })
        });
        let embedded = embedded.collect();
        (dir, pairs, embedded)
    }
}
