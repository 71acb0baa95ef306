//! What a card's pool tells, in a process in which nobody else uses the card.
#![cfg(feature = "cuda")]

mod card;

use candle::{DType, Tensor};
use card::card;
use facesocial_cuda::DeviceMemory;

#[test]
fn the_pool_tells_what_tensors_hold_and_gives_the_rest_back() {
    const BYTES: u64 = 64 << 20;
    let Some(card) = card("the memory of a graphics card") else { return };
    let memory = DeviceMemory::of(&card).unwrap();
    memory.reset_peak().unwrap();
    let before = memory.allocated().unwrap();
    let tensor = Tensor::zeros(BYTES as usize / 4, DType::F32, &card).unwrap();
    assert!(memory.allocated().unwrap() >= before + BYTES);
    drop(tensor);
    assert!(memory.peak().unwrap() >= before + BYTES);
    assert!(memory.reserved().unwrap() >= BYTES);
    memory.trim().unwrap();
    assert!(memory.allocated().unwrap() < before + BYTES && memory.reserved().unwrap() < before + BYTES);
    memory.reset_peak().unwrap();
    assert!(memory.peak().unwrap() < before + BYTES);
}
