//! Compiles the kernels to PTX, which the driver translates for whatever card is there.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    ptx();
}

#[cfg(feature = "cuda")]
#[expect(clippy::expect_used, reason = "a build script has nobody else to tell")]
fn ptx() {
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo::rerun-if-changed=kernels");
    let compiled = cudaforge::KernelBuilder::new().source_dir("kernels").arg("-std=c++17").arg("-O3").build_ptx();
    compiled.and_then(|ptx| ptx.write(out.join("ptx.rs"))).expect("the CUDA kernels compile");
}
