//! Arguments of kernels.

use std::marker::PhantomData;

use cudarc::cublas::sys as blas;
use cudarc::driver::sys as cu;

use super::memory::Buffer;

/// An argument of a kernel; it borrows what it points to until the launch is queued.
#[derive(Debug, Clone)]
pub struct Arg<'a> {
    pub(super) bytes: Vec<u8>,
    of: PhantomData<&'a ()>,
}

impl Arg<'_> {
    pub fn u32(x: usize) -> Self {
        Self::of((x as u32).to_le_bytes())
    }

    pub fn u64(x: usize) -> Self {
        Self::of((x as u64).to_le_bytes())
    }

    pub fn f32(x: f32) -> Self {
        Self::of(x.to_le_bytes())
    }

    fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self { bytes: bytes.as_ref().to_vec(), of: PhantomData }
    }
}

/// The fields of a structure that a kernel takes, in their order; the caller keeps their alignment.
#[derive(Debug, Default)]
pub struct Fields<'a> {
    bytes: Vec<u8>,
    of: PhantomData<&'a ()>,
}

impl<'a> Fields<'a> {
    pub fn u64(mut self, x: u64) -> Self {
        self.bytes.extend(x.to_le_bytes());
        self
    }

    pub fn u32(mut self, x: u32) -> Self {
        self.bytes.extend(x.to_le_bytes());
        self
    }

    pub fn f32(mut self, x: f32) -> Self {
        self.bytes.extend(x.to_le_bytes());
        self
    }

    pub fn address(self, of: &'a Buffer) -> Self {
        self.u64(of.at)
    }

    /// The address of a buffer's byte `first`.
    pub fn address_of(self, of: &'a Buffer, first: usize) -> Self {
        self.u64(of.at + first as u64)
    }

    /// Where a view begins.
    pub fn view(self, of: View<'a>) -> Self {
        self.u64(of.at)
    }

    pub fn then(mut self, other: &Fields<'_>) -> Self {
        self.bytes.extend(&other.bytes);
        self
    }

    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The structure, filled up with zeros to `bytes` bytes.
    pub fn filled_to(mut self, bytes: usize) -> Self {
        self.bytes.resize(bytes, 0);
        self
    }

    pub fn arg(self) -> Arg<'a> {
        Arg { bytes: self.bytes, of: PhantomData }
    }
}

/// A part of a matrix on the device: values in f32 or bf16, one after another.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub(super) at: cu::CUdeviceptr,
    /// Values.
    pub len: usize,
    /// bf16 instead of f32.
    pub narrow: bool,
    of: PhantomData<&'a ()>,
}

impl<'a> View<'a> {
    /// `len` values of a buffer from the value `first` on.
    pub fn new(buffer: &'a Buffer, first: usize, len: usize, narrow: bool) -> Self {
        let size = value_bytes(narrow);
        assert!((first + len) * size <= buffer.bytes, "a view lies within its buffer");
        Self { at: buffer.at + (first * size) as u64, len, narrow, of: PhantomData }
    }

    /// No values, where a kernel can do without.
    pub const fn none() -> Self {
        Self { at: 0, len: 0, narrow: false, of: PhantomData }
    }

    pub fn arg(self) -> Arg<'a> {
        let narrow = u64::from(self.narrow);
        Fields::default().u64(self.at).u64(self.len as u64).u64(narrow).arg()
    }

    pub(super) fn cuda_type(self) -> blas::cudaDataType {
        if self.narrow { blas::cudaDataType::CUDA_R_16BF } else { blas::cudaDataType::CUDA_R_32F }
    }
}

/// Bytes of a value.
pub const fn value_bytes(narrow: bool) -> usize {
    if narrow { 2 } else { 4 }
}
