//! The CUDA backend: our kernels and cuBLAS, on one GPU.
//!
//! Nothing of CUDA is needed to build it: the kernels are in the binary as PTX, and the driver and
//! cuBLAS are found when a GPU is asked for. Each file here has the launches of the kernels in the
//! `.cu` file of its name under `kernels/`, where the algebra stands. Activations and frozen weights
//! are f32 or bf16; adapters, their gradients, the optimizer's moments, the residual's gradient,
//! norms, softmax and losses are f32.

use std::ops::Range;
use std::sync::Arc;

use super::{Activation, AdamWUpdate, Attention, Backend, Head, Linear, LoraPath, Step};
use crate::error::Result;
use crate::format::Stored;

mod attention;
mod dora;
mod driver;
mod kernels;
mod libraries;
mod lora;
mod loss;
mod optimizer;
mod plan;
mod rope;
mod tables;
mod tensor;
mod weight;

pub use driver::{Counts, Gpu, check_device, device_count, free_memory};
pub use libraries::{FOLDERS as LIBRARY_FOLDERS, look_in};
pub use plan::Plan;
pub use tensor::Tensor;
pub use weight::Weight;

use driver::{Arg, Job, Kind, View};
use rope::AngleTables;

/// Threads of a block where any number would do.
const THREADS: u32 = 256;
/// Side of a tile of a product, and its threads, as in `common.cuh`.
const TILE: usize = 32;
const TILE_THREADS: u32 = 256;
/// Blocks of a kernel whose threads share a long vector: enough to fill any GPU.
const MOST_BLOCKS: usize = 4096;

/// Computes on a GPU. Clones share it and its memory.
#[derive(Debug, Clone)]
pub struct Cuda {
    gpu: Arc<Gpu>,
    narrow: bool,
    angles: Arc<AngleTables>,
}

/// The numbers of base model and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// IEEE single precision.
    F32,
    /// bf16, with sums in f32.
    Bf16,
}

impl Numbers {
    /// Bytes of one.
    pub const fn bytes(self) -> usize {
        driver::value_bytes(matches!(self, Self::Bf16))
    }
}

impl Cuda {
    /// Takes the GPU with this index into use. Its matrices, those of the base model included, take
    /// at most `limit` bytes together. The error says what is missing.
    pub fn new(index: u32, numbers: Numbers, limit: usize) -> Result<Self> {
        Self::open(index, numbers, limit, true)
    }

    /// The same without cuBLAS, whether there is one or not: products are our own.
    pub fn without_cublas(index: u32, numbers: Numbers, limit: usize) -> Result<Self> {
        Self::open(index, numbers, limit, false)
    }

    fn open(index: u32, numbers: Numbers, limit: usize, with_cublas: bool) -> Result<Self> {
        let gpu = Gpu::open(index, limit, with_cublas)?;
        Ok(Self { gpu, narrow: numbers == Numbers::Bf16, angles: Arc::default() })
    }

    /// Why it is slower than it could be, if so.
    pub fn note(&self) -> Option<String> {
        (!self.gpu.has_cublas()).then(|| {
            format!(
                "cuBLAS is not found, and products are several times slower without it: `pip install \
                 nvidia-cublas-cu12` (or nvidia-cublas for a driver of CUDA 13), or name its folder in \
                 {LIBRARY_FOLDERS}"
            )
        })
    }

    /// The GPU.
    pub const fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    const fn narrow(&self) -> bool {
        self.narrow
    }

    /// A matrix of activations with unspecified contents.
    fn stale(&self, rows: usize, cols: usize) -> Result<Tensor> {
        Tensor::stale(&self.gpu, rows, cols, self.narrow)
    }

    /// `y = x W^T` of `rows` rows, or with `forward` false `y = x W`.
    fn product(
        &self,
        y: View<'_>,
        x: View<'_>,
        w: &Tensor,
        rows: usize,
        forward: bool,
    ) -> Result<()> {
        let (outputs, inputs) = (w.rows(), w.cols());
        if self.gpu.has_cublas() {
            let (m, k) = if forward { (outputs, inputs) } else { (inputs, outputs) };
            return self.gpu.product(y, x, w.view(), [rows, m, k], forward);
        }
        let (name, across) =
            if forward { ("product_forward", outputs) } else { ("product_backward", inputs) };
        let sizes = [rows, outputs, inputs].map(Arg::u32);
        let args: Vec<Arg<'_>> = [y.arg(), x.arg(), w.arg()].into_iter().chain(sizes).collect();
        let grid = (across.div_ceil(TILE), rows.div_ceil(TILE));
        self.gpu.launch(name, grid, TILE_THREADS, 0, &args)
    }

    /// x in the format of activations.
    fn as_activation<'a>(&self, x: &'a Tensor) -> Result<weight::Wide<'a>> {
        if x.narrow() == self.narrow {
            return Ok(weight::Wide::Kept(x));
        }
        let y = self.stale(x.rows(), x.cols())?;
        self.convert(&y, x, 0.0)?;
        Ok(weight::Wide::Decoded(y))
    }

    /// `y = x + offset`, in y's format.
    fn convert(&self, y: &Tensor, x: &Tensor, offset: f64) -> Result<()> {
        let job = Job::on_values(Kind::Convert, y.len());
        self.gpu.queue(job.writes(y.view()).reads(x.view()).number(offset))
    }

    /// A norm of every head in `cols` of x, or the gradient through it; a warp goes through a head.
    fn head_norm_job(
        kind: Kind,
        x: &Tensor,
        cols: &Range<usize>,
        weight: &Tensor,
        eps: f64,
    ) -> Job {
        let heads = x.rows() * cols.len() / weight.len();
        let job = Job::new(kind, heads.div_ceil(THREADS as usize / 32)).writes(x.view());
        job.size(x.cols()).size(cols.start).size(cols.len()).size(x.rows()).number(eps)
    }
}

/// Queues a kernel whose threads share `len` values.
fn elementwise(gpu: &Gpu, name: &'static str, len: usize, args: &[Arg<'_>]) -> Result<()> {
    let blocks = len.div_ceil(THREADS as usize).min(MOST_BLOCKS);
    gpu.launch(name, (blocks, 1), THREADS, 0, args)
}

impl Backend for Cuda {
    type Tensor = Tensor;
    type Frozen = Weight;
    type LowRank = Tensor;
    type Dora = Vec<dora::Saved>;
    type Plan<'a> = Plan<'a>;

    fn plan<'a>(&self, step: Step<'a, Tensor>) -> Result<Plan<'a>> {
        Plan::new(step, &self.gpu, &self.angles)
    }

    fn device(&self) -> String {
        format!("cuda:{}", self.gpu.ordinal())
    }

    fn trim(&self) {
        self.gpu.trim();
    }

    fn tensor(&self, values: &[f32], rows: usize, cols: usize) -> Result<Tensor> {
        Tensor::upload(&self.gpu, values, rows, cols)
    }

    fn zeros(&self, rows: usize, cols: usize) -> Result<Tensor> {
        Tensor::zeros(&self.gpu, rows, cols)
    }

    fn clear(&self, tensor: &mut Tensor) -> Result<()> {
        tensor.clear(&self.gpu)
    }

    fn values(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        self.copy_values(tensor, &mut values)?;
        Ok(values)
    }

    fn copy_values(&self, tensor: &Tensor, to: &mut Vec<f32>) -> Result<()> {
        let wide;
        let tensor = if tensor.narrow() {
            wide = Tensor::stale(&self.gpu, tensor.rows(), tensor.cols(), false)?;
            self.convert(&wide, tensor, 0.0)?;
            &wide
        } else {
            tensor
        };
        to.resize(tensor.len(), 0.0);
        self.gpu.download(tensor.buffer(), bytemuck::cast_slice_mut(to))
    }

    fn freeze(&self, parts: &[Stored]) -> Result<Weight> {
        Weight::new(self, parts)
    }

    /// Looking a row up would decode the whole table.
    fn freeze_table(&self, table: &Stored) -> Result<Weight> {
        Weight::plain(self, std::slice::from_ref(table))
    }

    fn freeze_bias(&self, parts: &[Stored]) -> Result<Tensor> {
        let joined = self.stale(1, parts.iter().map(Stored::cols).sum())?;
        weight::upload(&self.gpu, &joined, parts)?;
        Ok(joined)
    }

    fn freeze_norm(&self, weight: &Stored, offset: f64) -> Result<Tensor> {
        let frozen = Tensor::stale(&self.gpu, 1, weight.cols(), false)?;
        weight::upload(&self.gpu, &frozen, std::slice::from_ref(weight))?;
        if offset != 0.0 {
            self.convert(&frozen, &frozen, offset)?;
        }
        Ok(frozen)
    }

    fn embed(&self, table: &Weight, scale: f64, plan: &Plan<'_>) -> Result<Tensor> {
        let table = table.values(self)?;
        let x = self.stale(plan.rows.len(), table.cols())?;
        let job = Job::on_values(Kind::Embed, x.len()).writes(x.view()).reads(table.view());
        self.gpu.queue(job.ints(plan.ids()).size(table.cols()).number(scale))?;
        Ok(x)
    }

    fn pick_rows(&self, x: &Tensor, plan: &Plan<'_>) -> Result<Tensor> {
        let y = Tensor::stale(&self.gpu, plan.rows_read(), x.cols(), x.narrow())?;
        let job = Job::on_values(Kind::PickRows, y.len()).writes(y.view()).reads(x.view());
        self.gpu.queue(job.ints(plan.read()).size(x.cols()))?;
        Ok(y)
    }

    fn place_rows(&self, y: &Tensor, plan: &Plan<'_>) -> Result<Tensor> {
        let x = Tensor::stale(&self.gpu, plan.rows.len(), y.cols(), y.narrow())?;
        x.clear(&self.gpu)?;
        let job = Job::on_values(Kind::PlaceRows, y.len()).writes(x.view()).reads(y.view());
        self.gpu.queue(job.ints(plan.read()).size(y.cols()))?;
        Ok(x)
    }

    fn add_assign(&self, x: &mut Tensor, y: &Tensor) -> Result<()> {
        self.gpu.queue(Job::on_values(Kind::Add, x.len()).writes(x.view()).reads(y.view()))
    }

    fn linear(&self, x: &Tensor, layer: &Linear<Weight, Tensor>) -> Result<Tensor> {
        let weight = layer.weight.values(self)?;
        let y = self.stale(x.rows(), weight.rows())?;
        self.product(y.view(), x.view(), &weight, x.rows(), true)?;
        if let Some(bias) = &layer.bias {
            let job = Job::on_values(Kind::AddBias, y.len());
            self.gpu.queue(job.writes(y.view()).reads(bias.view()))?;
        }
        Ok(y)
    }

    fn linear_backward(&self, dy: &Tensor, layer: &Linear<Weight, Tensor>) -> Result<Tensor> {
        let weight = layer.weight.values(self)?;
        let dx = self.stale(dy.rows(), weight.cols())?;
        let dy = self.as_activation(dy)?;
        self.product(dx.view(), dy.view(), &weight, dy.rows(), false)?;
        Ok(dx)
    }

    fn lora(&self, y: &mut Tensor, x: &Tensor, plan: &Plan<'_>, site: usize) -> Result<Tensor> {
        lora::forward(self, y, x, &plan.sites[site])
    }

    fn lora_backward(
        &self,
        dx: Option<&mut Tensor>,
        dy: &Tensor,
        x: &Tensor,
        low_rank: &Tensor,
        plan: &Plan<'_>,
        site: usize,
        grads: &mut [&mut Tensor],
    ) -> Result<()> {
        let saved = lora::Saved { dy, x, u: low_rank };
        lora::backward(self, dx.as_deref(), &saved, &plan.sites[site], grads)
    }

    fn row_norms(
        &self,
        cols: Range<usize>,
        layer: &Linear<Weight, Tensor>,
        path: &LoraPath<'_, Tensor>,
    ) -> Result<Vec<f32>> {
        let weight = layer.weight.values(self)?;
        self.values(&dora::norms(self, &weight, &cols, path, None)?)
    }

    fn dora(
        &self,
        y: &mut Tensor,
        layer: &Linear<Weight, Tensor>,
        plan: &Plan<'_>,
        site: usize,
    ) -> Result<Self::Dora> {
        dora::forward(self, y, layer, &plan.sites[site])
    }

    fn dora_backward(
        &self,
        dy: &mut Tensor,
        saved: &Self::Dora,
        plan: &Plan<'_>,
        site: usize,
        grads: &mut [&mut Tensor],
    ) -> Result<()> {
        dora::backward(self, dy, saved, &plan.sites[site], grads)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
        let y = self.stale(x.rows(), x.cols())?;
        let inverse = Tensor::stale(&self.gpu, x.rows(), 1, false)?;
        let job = Job::new(Kind::RmsNorm, x.rows()).writes(y.view()).writes(inverse.view());
        self.gpu.queue(job.reads(x.view()).reads(weight.view()).number(eps))?;
        Ok((y, inverse))
    }

    fn rms_norm_backward(
        &self,
        dx: &mut Tensor,
        dy: &Tensor,
        x: &Tensor,
        inverse_rms: &Tensor,
        weight: &Tensor,
    ) -> Result<()> {
        let job = Job::new(Kind::RmsNormBackward, x.rows()).writes(dx.view()).reads(dy.view());
        self.gpu.queue(job.reads(x.view()).reads(inverse_rms.view()).reads(weight.view()))
    }

    fn head_norm(
        &self,
        x: &mut Tensor,
        cols: Range<usize>,
        weight: &Tensor,
        eps: f64,
    ) -> Result<Tensor> {
        let saved = Tensor::stale(&self.gpu, x.rows(), cols.len(), x.narrow())?;
        let job = Self::head_norm_job(Kind::HeadNorm, x, &cols, weight, eps);
        self.gpu.queue(job.writes(saved.view()).reads(weight.view()))?;
        Ok(saved)
    }

    fn head_norm_backward(
        &self,
        dx: &mut Tensor,
        cols: Range<usize>,
        saved: &Tensor,
        weight: &Tensor,
        eps: f64,
    ) -> Result<()> {
        let job = Self::head_norm_job(Kind::HeadNormBackward, dx, &cols, weight, eps);
        self.gpu.queue(job.reads(saved.view()).reads(weight.view()))
    }

    fn rope(&self, qkv: &mut Tensor, rope: usize, inverse: bool, plan: &Plan<'_>) -> Result<()> {
        rope::rotate(&self.gpu, qkv, plan.rotation(rope), plan.attention, inverse)
    }

    fn attention(
        &self,
        qkv: &Tensor,
        attention: &Attention,
        plan: &Plan<'_>,
    ) -> Result<(Tensor, Tensor)> {
        attention::forward(self, qkv, attention, plan.tiles())
    }

    fn attention_backward(
        &self,
        dout: &Tensor,
        qkv: &Tensor,
        out: &Tensor,
        log_denominators: &Tensor,
        attention: &Attention,
        plan: &Plan<'_>,
    ) -> Result<Tensor> {
        let saved = attention::Saved { qkv, out, lse: log_denominators };
        attention::backward(self, dout, &saved, attention, plan.tiles())
    }

    fn glu(&self, gate_up: &Tensor, f: Activation) -> Result<Tensor> {
        let ffn = gate_up.cols() / 2;
        let y = self.stale(gate_up.rows(), ffn)?;
        let job = Job::on_values(Kind::Glu, y.len()).writes(y.view()).reads(gate_up.view());
        self.gpu.queue(job.size(ffn).size(gelu(f)))?;
        Ok(y)
    }

    fn glu_with_slopes(&self, gate_up: &mut Tensor, f: Activation) -> Result<Tensor> {
        let ffn = gate_up.cols() / 2;
        let y = self.stale(gate_up.rows(), ffn)?;
        let job =
            Job::on_values(Kind::GluWithSlopes, y.len()).writes(y.view()).writes(gate_up.view());
        self.gpu.queue(job.size(ffn).size(gelu(f)))?;
        Ok(y)
    }

    fn glu_backward(&self, slopes: &mut Tensor, dy: &Tensor) -> Result<()> {
        let job = Job::on_values(Kind::GluBackward, slopes.len()).writes(slopes.view());
        self.gpu.queue(job.reads(dy.view()).size(dy.cols()))
    }

    fn logits(&self, h: &Tensor, head: Head<'_, Weight>) -> Result<Vec<f32>> {
        let weight = head.weight.values(self)?;
        let logits = Tensor::stale(&self.gpu, h.rows(), weight.rows(), false)?;
        self.product(logits.view(), h.view(), &weight, h.rows(), true)?;
        if let Some(cap) = head.softcap {
            let job = Job::on_values(Kind::SoftCap, logits.len()).writes(logits.view());
            self.gpu.queue(job.number(cap))?;
        }
        self.values(&logits)
    }

    fn cross_entropy(
        &self,
        h: Tensor,
        head: Head<'_, Weight>,
        with_gradient: bool,
        plan: &Plan<'_>,
    ) -> Result<(Vec<f32>, Option<Tensor>)> {
        loss::cross_entropy(self, &h, head, with_gradient, plan)
    }

    fn norms(&self, vectors: &[&Tensor]) -> Result<Vec<f64>> {
        optimizer::norms(self, vectors)
    }

    fn adamw(&self, updates: &mut [AdamWUpdate<'_, Tensor>]) -> Result<()> {
        optimizer::adamw(self, updates)
    }
}

const fn gelu(f: Activation) -> usize {
    matches!(f, Activation::GeluTanh) as usize
}
