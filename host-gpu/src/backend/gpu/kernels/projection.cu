// The projection's gradient Q^T C (spec 2.2) and its step in one: a block makes a tile of the gradient in registers and
// steps it at once, so that the gradient, as large as the projection, is never written out.
//
// 256 threads have 4x4 elements each of a tile of 64x64: rows of the tile are units (columns of q), its columns are
// sources (columns of c). Rows of the batch are staged in shared memory, 16 at a time.

#define TILE 64
#define STAGE 16
#define EACH_WAY 4

// Four neighbours of a row, zeros beyond its end.
__device__ inline float4 four_of(const float* row, int at, int len, bool whole) {
    if (whole && at + 3 < len) return *(const float4*)(row + at);
    return make_float4(at < len ? row[at] : 0.0f, at + 1 < len ? row[at + 1] : 0.0f, at + 2 < len ? row[at + 2] : 0.0f,
                       at + 3 < len ? row[at + 3] : 0.0f);
}

// This thread's part of a tile: where it lies, and its gradient.
struct tile_t {
    int unit, source;
    // How much of it lies within the projection.
    int units, sources;
    float g[EACH_WAY][EACH_WAY];

    __device__ bool has(int i, int j) const { return i < units && j < sources; }
};

__device__ inline tile_t gradient_tile(const float* q, const float* c, int rows, int dimension, int source) {
    __shared__ float4 units[STAGE][TILE / 4];
    __shared__ float4 sources[STAGE][TILE / 4];
    int thread = (int)threadIdx.x;
    int across = thread % (TILE / 4), down = thread / (TILE / 4);
    int unit = (int)blockIdx.y * TILE, left = (int)blockIdx.x * TILE;
    bool whole_q = by_four(q) && dimension % 4 == 0, whole_c = by_four(c) && source % 4 == 0;
    tile_t tile;
    tile.unit = unit + down * EACH_WAY;
    tile.source = left + across * EACH_WAY;
    tile.units = dimension - tile.unit;
    tile.sources = source - tile.source;
#pragma unroll
    for (int i = 0; i < EACH_WAY; i++) {
#pragma unroll
        for (int j = 0; j < EACH_WAY; j++) tile.g[i][j] = 0.0f;
    }
    for (int first = 0; first < rows; first += STAGE) {
        // `down` is a row of the stage here: 16 rows of 16 times four elements.
        int row = first + down;
        float4 none = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        bool there = row < rows;
        units[down][across] = there ? four_of(q + (u64)row * dimension, unit + across * 4, dimension, whole_q) : none;
        sources[down][across] = there ? four_of(c + (u64)row * source, left + across * 4, source, whole_c) : none;
        __syncthreads();
        int count = rows - first < STAGE ? rows - first : STAGE;
        for (int k = 0; k < count; k++) {
            float4 a = units[k][down], b = sources[k][across];
            float by_unit[EACH_WAY] = {a.x, a.y, a.z, a.w}, by_source[EACH_WAY] = {b.x, b.y, b.z, b.w};
#pragma unroll
            for (int i = 0; i < EACH_WAY; i++) {
#pragma unroll
                for (int j = 0; j < EACH_WAY; j++) tile.g[i][j] += by_unit[i] * by_source[j];
            }
        }
        __syncthreads();
    }
    return tile;
}

extern "C" __global__ void __launch_bounds__(256, 2) outer_sgd(const float* q, const float* c, float* b,
                                                            const control_t* control, int rows, int dimension,
                                                            int source, float weight_decay) {
    if (control->stopped) return;
    tile_t tile = gradient_tile(q, c, rows, dimension, source);
    float lr = control->lr;
#pragma unroll
    for (int i = 0; i < EACH_WAY; i++) {
        float* row = b + (u64)(tile.unit + i) * source + tile.source;
#pragma unroll
        for (int j = 0; j < EACH_WAY; j++) {
            if (tile.has(i, j)) row[j] = sgd_step(row[j], tile.g[i][j], lr, weight_decay);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 2) outer_momentum(const float* q, const float* c, float* b, float* m,
                                                                 const float* scale, const control_t* control, int rows,
                                                                 int dimension, int source, float momentum,
                                                                 float weight_decay) {
    if (control->stopped) return;
    tile_t tile = gradient_tile(q, c, rows, dimension, source);
    float lr = control->lr, factor = scale ? *scale : 1.0f;
#pragma unroll
    for (int i = 0; i < EACH_WAY; i++) {
        u64 at = (u64)(tile.unit + i) * source + tile.source;
#pragma unroll
        for (int j = 0; j < EACH_WAY; j++) {
            if (!tile.has(i, j)) continue;
            momentum_step(b[at + j], m[at + j], tile.g[i][j], factor, lr, momentum, weight_decay);
        }
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
        u64 at = (u64)(tile.unit + i) * source + tile.source;
        if (whole && tile.sources > 0) {
            float4 value = *(const float4*)(b + at), first = *(const float4*)(m + at);
            float4 second = *(const float4*)(v + at);
            float4 gradient = make_float4(tile.g[i][0], tile.g[i][1], tile.g[i][2], tile.g[i][3]);
            adamw_step4(value, first, second, gradient, a);
            *(float4*)(b + at) = value;
            *(float4*)(m + at) = first;
            *(float4*)(v + at) = second;
            continue;
        }
#pragma unroll
        for (int j = 0; j < EACH_WAY; j++) {
            if (tile.has(i, j)) adamw_step(b[at + j], m[at + j], v[at + j], tile.g[i][j], a);
        }
    }
}

// Squares of values and of their gradients with decay, over each tile, for `lars_scale`.
extern "C" __global__ void __launch_bounds__(256, 2) outer_norms(const float* q, const float* c, const float* b,
                                                              double* partial, int rows, int dimension, int source,
                                                              float weight_decay) {
    tile_t tile = gradient_tile(q, c, rows, dimension, source);
    pair_t own = {0.0, 0.0};
#pragma unroll
    for (int i = 0; i < EACH_WAY; i++) {
#pragma unroll
        for (int j = 0; j < EACH_WAY; j++) {
            if (!tile.has(i, j)) continue;
            pair_t one = squares(b[(u64)(tile.unit + i) * source + tile.source + j], tile.g[i][j], weight_decay);
            own.first += one.first;
            own.second += one.second;
        }
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
