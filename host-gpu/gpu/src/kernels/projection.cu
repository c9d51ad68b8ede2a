// The projection's gradient Q^T C (docs/paper.md 2.2) and its step in one: a block makes a tile of the gradient in
// registers and steps it at once, so that the gradient, as large as the projection, is never written out.
//
// 256 threads have 4x4 elements each of a tile of 64x64: rows of the tile are units (columns of q), its columns are
// sources (columns of c). Rows of the batch are staged in shared memory, 16 at a time.

#define TILE 64
#define STAGE 16
#define EACH_WAY 4

// Four neighbours, of which `count` are there; zeros beyond them.
__device__ inline float4 load_four(const float* at, int count, bool whole) {
    if (whole && count >= 4) return *(const float4*)at;
    return make_float4(count > 0 ? at[0] : 0.0f, count > 1 ? at[1] : 0.0f, count > 2 ? at[2] : 0.0f,
                       count > 3 ? at[3] : 0.0f);
}

__device__ inline void store_four(float* at, int count, bool whole, const float4& values) {
    if (whole && count >= 4) {
        *(float4*)at = values;
        return;
    }
    if (count > 0) at[0] = values.x;
    if (count > 1) at[1] = values.y;
    if (count > 2) at[2] = values.z;
    if (count > 3) at[3] = values.w;
}

// This thread's part of a tile: where it lies, and its gradient.
struct tile_t {
    int unit, source;
    // How much of it lies within the projection.
    int units, sources;
    float4 g[EACH_WAY];
};

__device__ inline void add_product(float4& sum, float a, const float4& b) {
    sum.x += a * b.x;
    sum.y += a * b.y;
    sum.z += a * b.z;
    sum.w += a * b.w;
}

__device__ inline tile_t gradient_tile(const float* q, const float* c, int rows, int dimension, int source) {
    __shared__ float4 units[STAGE][TILE / 4];
    __shared__ float4 sources[STAGE][TILE / 4];
    int thread = (int)threadIdx.x;
    int across = thread % (TILE / 4), down = thread / (TILE / 4);
    int top = (int)blockIdx.y * TILE, left = (int)blockIdx.x * TILE;
    bool whole_q = by_four(q) && dimension % 4 == 0, whole_c = by_four(c) && source % 4 == 0;
    tile_t tile;
    tile.unit = top + down * EACH_WAY;
    tile.source = left + across * EACH_WAY;
    tile.units = dimension - tile.unit;
    tile.sources = source - tile.source;
    float4 none = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
    for (int i = 0; i < EACH_WAY; i++) tile.g[i] = none;
    for (int first = 0; first < rows; first += STAGE) {
        // `down` is a row of the stage here: 16 rows of 16 times four elements.
        int row = first + down;
        bool there = row < rows;
        int unit = top + across * 4, at = left + across * 4;
        units[down][across] = there ? load_four(q + (u64)row * dimension + unit, dimension - unit, whole_q) : none;
        sources[down][across] = there ? load_four(c + (u64)row * source + at, source - at, whole_c) : none;
        __syncthreads();
        int count = rows - first < STAGE ? rows - first : STAGE;
        for (int k = 0; k < count; k++) {
            float4 a = units[k][down], b = sources[k][across];
            add_product(tile.g[0], a.x, b);
            add_product(tile.g[1], a.y, b);
            add_product(tile.g[2], a.z, b);
            add_product(tile.g[3], a.w, b);
        }
        __syncthreads();
    }
    return tile;
}

// Where row `i` of this thread's part begins in the projection.
__device__ inline u64 row_at(const tile_t& tile, int i, int source) {
    return (u64)(tile.unit + i) * source + tile.source;
}

extern "C" __global__ void __launch_bounds__(256, 2) outer_sgd(const float* q, const float* c, float* b,
                                                               const control_t* control, int rows, int dimension,
                                                               int source, float weight_decay) {
    if (control->stopped) return;
    tile_t tile = gradient_tile(q, c, rows, dimension, source);
    float lr = control->lr;
    bool whole = by_four(b) && source % 4 == 0;
#pragma unroll
    for (int i = 0; i < EACH_WAY; i++) {
        if (i >= tile.units) continue;
        u64 at = row_at(tile, i, source);
        float4 value = load_four(b + at, tile.sources, whole), g = tile.g[i];
        value.x = sgd_step(value.x, g.x, lr, weight_decay);
        value.y = sgd_step(value.y, g.y, lr, weight_decay);
        value.z = sgd_step(value.z, g.z, lr, weight_decay);
        value.w = sgd_step(value.w, g.w, lr, weight_decay);
        store_four(b + at, tile.sources, whole, value);
    }
}

extern "C" __global__ void __launch_bounds__(256, 2) outer_momentum(const float* q, const float* c, float* b, float* m,
                                                                    const float* scale, const control_t* control,
                                                                    int rows, int dimension, int source, float momentum,
                                                                    float weight_decay) {
    if (control->stopped) return;
    tile_t tile = gradient_tile(q, c, rows, dimension, source);
    float lr = control->lr, factor = scale ? *scale : 1.0f;
    bool whole = by_four(b) && by_four(m) && source % 4 == 0;
#pragma unroll
    for (int i = 0; i < EACH_WAY; i++) {
        if (i >= tile.units) continue;
        u64 at = row_at(tile, i, source);
        float4 value = load_four(b + at, tile.sources, whole), first = load_four(m + at, tile.sources, whole);
        float4 g = tile.g[i];
        momentum_step(value.x, first.x, g.x, factor, lr, momentum, weight_decay);
        momentum_step(value.y, first.y, g.y, factor, lr, momentum, weight_decay);
        momentum_step(value.z, first.z, g.z, factor, lr, momentum, weight_decay);
        momentum_step(value.w, first.w, g.w, factor, lr, momentum, weight_decay);
        store_four(b + at, tile.sources, whole, value);
        store_four(m + at, tile.sources, whole, first);
    }
}

extern "C" __global__ void __launch_bounds__(256, 2) outer_adamw(const float* q, const float* c, float* b, float* m,
                                                                 float* v, const control_t* control, int rows,
                                                                 int dimension, int source, float beta1, float beta2,
                                                                 float eps, float weight_decay) {
    if (control->stopped) return;
    tile_t tile = gradient_tile(q, c, rows, dimension, source);
    adamw_t a = adamw_of(control, beta1, beta2, eps, weight_decay);
    bool whole = by_four(b) && by_four(m) && by_four(v) && source % 4 == 0;
#pragma unroll
    for (int i = 0; i < EACH_WAY; i++) {
        if (i >= tile.units) continue;
        u64 at = row_at(tile, i, source);
        float4 value = load_four(b + at, tile.sources, whole), first = load_four(m + at, tile.sources, whole);
        float4 second = load_four(v + at, tile.sources, whole);
        adamw_step4(value, first, second, tile.g[i], a);
        store_four(b + at, tile.sources, whole, value);
        store_four(m + at, tile.sources, whole, first);
        store_four(v + at, tile.sources, whole, second);
    }
}

__device__ inline void add_squares(pair_t& sum, float p, float g, float weight_decay) {
    pair_t one = squares(p, g, weight_decay);
    sum.first += one.first;
    sum.second += one.second;
}

// Squares of values and of their gradients with decay, over each tile, for `lars_scale`.
extern "C" __global__ void __launch_bounds__(256, 2) outer_norms(const float* q, const float* c, const float* b,
                                                                 double* partial, int rows, int dimension, int source,
                                                                 float weight_decay) {
    tile_t tile = gradient_tile(q, c, rows, dimension, source);
    bool whole = by_four(b) && source % 4 == 0;
    pair_t own = {0.0, 0.0};
#pragma unroll
    for (int i = 0; i < EACH_WAY; i++) {
        if (i >= tile.units) continue;
        float4 value = load_four(b + row_at(tile, i, source), tile.sources, whole), g = tile.g[i];
        if (tile.sources > 0) add_squares(own, value.x, g.x, weight_decay);
        if (tile.sources > 1) add_squares(own, value.y, g.y, weight_decay);
        if (tile.sources > 2) add_squares(own, value.z, g.z, weight_decay);
        if (tile.sources > 3) add_squares(own, value.w, g.w, weight_decay);
    }
    // As many threads as lanes: each has one.
    lanes()[threadIdx.x] = own.first;
    lanes()[LANES + threadIdx.x] = own.second;
    add_lanes(2);
    if (threadIdx.x != 0) return;
    u64 block = (u64)blockIdx.y * gridDim.x + blockIdx.x;
    partial[2 * block] = lanes()[0];
    partial[2 * block + 1] = lanes()[LANES];
}
