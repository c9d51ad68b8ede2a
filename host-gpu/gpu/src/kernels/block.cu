// The parts of a block around its convolution (docs/paper.md 2.4, 2.5): bias, activation, max-pool, loss pooling, and
// their gradients. Maps are [row, y, x, channel]; a thread has one channel, or four where they may be read at once.

// `max(a, 0)` that lets a NaN through, so that a diverged network cannot look like a silent one.
__device__ inline float activate(float a, const float* bias, int channel, int relu) {
    if (bias) a += bias[channel];
    return relu && a < 0.0f ? 0.0f : a;
}

template <int V>
__device__ inline void bias_activate_some(const map_t* a, const float* bias, map_t* z, int channels, int relu, u64 n) {
    EACH(i, n / V) {
        u64 rest = i;
        int channel = take(rest, channels / V) * V;
        float values[V];
        load_some<V>(a + i * V, values);
        for (int k = 0; k < V; k++) values[k] = activate(values[k], bias, channel + k, relu);
        store_some<V>(z + i * V, values);
    }
}

extern "C" __global__ void bias_activate(const map_t* a, const float* bias, map_t* z, int channels, int relu,
                                         unsigned long long n) {
    if (channels % 4 == 0 && by_four(a) && by_four(z)) {
        bias_activate_some<4>(a, bias, z, channels, relu, n);
    } else {
        bias_activate_some<1>(a, bias, z, channels, relu, n);
    }
}

// Maps before and after the max-pool.
struct geometry_t {
    int rows, conv_h, conv_w, channels, pool_h, pool_w, out_h, out_w;
};

template <int V>
__device__ inline void max_pool_some(const map_t* a, const float* bias, map_t* z, unsigned char* argmax,
                                     const geometry_t& g, int relu) {
    EACH(i, (u64)g.rows * g.out_h * g.out_w * (g.channels / V)) {
        u64 row = i;
        int channel = take(row, g.channels / V) * V;
        int x = take(row, g.out_w) * g.pool_w;
        int y = take(row, g.out_h) * g.pool_h;
        const map_t* corner = a + ((row * g.conv_h + y) * g.conv_w + x) * g.channels + channel;
        float best[V] = {};
        unsigned char at[V] = {};
        for (int within_y = 0; within_y < g.pool_h; within_y++) {
            for (int within_x = 0; within_x < g.pool_w; within_x++) {
                float values[V];
                load_some<V>(corner + ((u64)within_y * g.conv_w + within_x) * g.channels, values);
                int within = within_y * g.pool_w + within_x;
                for (int k = 0; k < V; k++) {
                    float value = activate(values[k], bias, channel + k, relu);
                    if (within == 0 || value > best[k]) {
                        best[k] = value;
                        at[k] = (unsigned char)within;
                    }
                }
            }
        }
        store_some<V>(z + i * V, best);
        if constexpr (V == 4) {
            *(uchar4*)(argmax + i * V) = make_uchar4(at[0], at[1], at[2], at[3]);
        } else {
            argmax[i] = at[0];
        }
    }
}

// The first maximum of each window in row-major order, and where in its window it was.
extern "C" __global__ void bias_activate_max_pool(const map_t* a, const float* bias, map_t* z, unsigned char* argmax,
                                                  int rows, int conv_h, int conv_w, int channels, int pool_h,
                                                  int pool_w, int out_h, int out_w, int relu) {
    geometry_t geometry = {rows, conv_h, conv_w, channels, pool_h, pool_w, out_h, out_w};
    if (channels % 4 == 0 && by_four(a) && by_four(z) && by_four(argmax)) {
        max_pool_some<4>(a, bias, z, argmax, geometry, relu);
    } else {
        max_pool_some<1>(a, bias, z, argmax, geometry, relu);
    }
}

extern "C" __global__ void loss_pool(const map_t* z, float* p, int rows, int height, int width, int channels,
                                     int pooled_h, int pooled_w, int kind, int block_h, int block_w) {
    pooling_t pool = {height, width, pooled_h, pooled_w, kind, block_h, block_w};
    int cells = cells_in(pool);
    EACH(i, (u64)rows * cells * channels) {
        u64 row = i;
        int channel = take(row, channels);
        int cell = take(row, cells);
        range_t ys, xs;
        cell_at(pool, cell, ys, xs);
        float share = single_share_of(ys, xs);
        float sum = 0.0f;
        for (int y = ys.first; y < ys.end; y++) {
            const map_t* line = z + ((row * height + y) * width) * channels + channel;
            for (int x = xs.first; x < xs.end; x++) sum += load(line + (u64)x * channels) * share;
        }
        p[(row * channels + channel) * cells + cell] = sum;
    }
}

// What a position gets of its row's pooled gradient, for `V` channels from `channel`.
template <int V>
__device__ inline void spread_to(const double* dp, u64 row, int y, int x, int channel, int channels,
                                 const pooling_t& pool, float* out) {
    range_t cell_ys = cells_of(y, pool.height, pool.pooled_h, pool.kind, pool.block_h);
    range_t cell_xs = cells_of(x, pool.width, pool.pooled_w, pool.kind, pool.block_w);
    int cells = cells_in(pool);
    bool first = true;
    for (int k = 0; k < V; k++) out[k] = 0.0f;
    for (int cell_y = cell_ys.first; cell_y < cell_ys.end; cell_y++) {
        for (int cell_x = cell_xs.first; cell_x < cell_xs.end; cell_x++) {
            int cell = cell_y * pool.pooled_w + cell_x;
            range_t ys, xs;
            cell_at(pool, cell, ys, xs);
            float share = single_share_of(ys, xs);
            const double* from = dp + (row * channels + channel) * cells + cell;
            for (int k = 0; k < V; k++) {
                float part = (float)from[(u64)k * cells] * share;
                out[k] = first ? part : out[k] + part;
            }
            first = false;
        }
    }
}

template <int V>
__device__ inline void spread_some(const double* dp, map_t* dz, int rows, int channels, const pooling_t& pool) {
    EACH(i, (u64)rows * pool.height * pool.width * (channels / V)) {
        u64 row = i;
        int channel = take(row, channels / V) * V;
        int x = take(row, pool.width);
        int y = take(row, pool.height);
        float values[V];
        spread_to<V>(dp, row, y, x, channel, channels, pool, values);
        store_some<V>(dz + i * V, values);
    }
}

extern "C" __global__ void spread(const double* dp, map_t* dz, int rows, int height, int width, int channels,
                                  int pooled_h, int pooled_w, int kind, int block_h, int block_w) {
    pooling_t pool = {height, width, pooled_h, pooled_w, kind, block_h, block_w};
    if (channels % 4 == 0 && by_four(dz)) {
        spread_some<4>(dp, dz, rows, channels, pool);
    } else {
        spread_some<1>(dp, dz, rows, channels, pool);
    }
}

// Through the activation and the max-pool: a window's gradient goes to where its maximum was. One thread has a window,
// or what is left of one at the border, so that all of `da` is written. `dz` is made of `dp` where there is one.
template <int V>
__device__ inline void route_some(const double* dp, const map_t* dz, const map_t* z, const unsigned char* argmax,
                                  map_t* da, const geometry_t& g, const pooling_t& pool, int relu) {
    int windows_h = (g.conv_h + g.pool_h - 1) / g.pool_h;
    int windows_w = (g.conv_w + g.pool_w - 1) / g.pool_w;
    EACH(i, (u64)g.rows * windows_h * windows_w * (g.channels / V)) {
        u64 row = i;
        int channel = take(row, g.channels / V) * V;
        int x = take(row, windows_w);
        int y = take(row, windows_h);
        float values[V], none[V];
        int at[V];
        for (int k = 0; k < V; k++) {
            values[k] = none[k] = 0.0f;
            at[k] = 0;
        }
        if (y < g.out_h && x < g.out_w) {
            u64 out = ((row * g.out_h + y) * g.out_w + x) * g.channels + channel;
            if (dp) {
                spread_to<V>(dp, row, y, x, channel, g.channels, pool, values);
            } else {
                load_some<V>(dz + out, values);
            }
            float active[V];
            load_some<V>(z + out, active);
            for (int k = 0; k < V; k++) {
                if (relu && !(active[k] > 0.0f)) values[k] = 0.0f;
                if (argmax) at[k] = argmax[out + k];
            }
        }
        for (int within_y = 0; within_y < g.pool_h && y * g.pool_h + within_y < g.conv_h; within_y++) {
            for (int within_x = 0; within_x < g.pool_w && x * g.pool_w + within_x < g.conv_w; within_x++) {
                int within = within_y * g.pool_w + within_x;
                float here[V];
                for (int k = 0; k < V; k++) here[k] = at[k] == within ? values[k] : none[k];
                u64 position = (row * g.conv_h + y * g.pool_h + within_y) * g.conv_w + x * g.pool_w + within_x;
                store_some<V>(da + position * g.channels + channel, here);
            }
        }
    }
}

extern "C" __global__ void route_pooled(const double* dp, const map_t* z, const unsigned char* argmax, map_t* da,
                                        int rows, int conv_h, int conv_w, int channels, int pool_h, int pool_w,
                                        int out_h, int out_w, int pooled_h, int pooled_w, int kind, int block_h,
                                        int block_w, int relu) {
    geometry_t geometry = {rows, conv_h, conv_w, channels, pool_h, pool_w, out_h, out_w};
    pooling_t pool = {out_h, out_w, pooled_h, pooled_w, kind, block_h, block_w};
    if (channels % 4 == 0 && by_four(z) && by_four(da)) {
        route_some<4>(dp, 0, z, argmax, da, geometry, pool, relu);
    } else {
        route_some<1>(dp, 0, z, argmax, da, geometry, pool, relu);
    }
}

extern "C" __global__ void route_maps(const map_t* dz, const map_t* z, const unsigned char* argmax, map_t* da, int rows,
                                      int conv_h, int conv_w, int channels, int pool_h, int pool_w, int out_h,
                                      int out_w, int relu) {
    geometry_t geometry = {rows, conv_h, conv_w, channels, pool_h, pool_w, out_h, out_w};
    pooling_t none = {0, 0, 0, 0, 0, 0, 0};
    if (channels % 4 == 0 && by_four(dz) && by_four(z) && by_four(da)) {
        route_some<4>(0, dz, z, argmax, da, geometry, none, relu);
    } else {
        route_some<1>(0, dz, z, argmax, da, geometry, none, relu);
    }
}

#define WIDE 32

// For each channel of a row, the sum of `term(channel, 0)` to `term(channel, count - 1)`: neighbouring threads have
// neighbouring channels. Blocks of `gridDim.y` share the channels of a row.
template <class Term>
__device__ inline void channel_sums(double* partial, int channels, int count, Term term) {
    double* sums = lanes();
    for (int left = (int)blockIdx.y * WIDE; left < channels; left += (int)gridDim.y * WIDE) {
        for (int lane = (int)threadIdx.x; lane < LANES; lane += (int)blockDim.x) {
            int channel = left + lane % WIDE;
            double sum = 0.0;
            for (int i = lane / WIDE; i < count && channel < channels; i += LANES / WIDE) sum += term(channel, i);
            sums[lane] = sum;
        }
        __syncthreads();
        for (int lane = (int)threadIdx.x; lane < WIDE && left + lane < channels; lane += (int)blockDim.x) {
            double sum = 0.0;
            for (int i = lane; i < LANES; i += WIDE) sum += sums[i];
            partial[(u64)blockIdx.x * channels + left + lane] = sum;
        }
        __syncthreads();
    }
}

// Each cell's gradient times the share of the cell that is active, in double precision: the large terms that cancel
// between rows are kept whole.
extern "C" __global__ void bias_gradient_pooled(const double* dp, const map_t* z, double* partial, int rows, int height,
                                                int width, int channels, int pooled_h, int pooled_w, int kind,
                                                int block_h, int block_w, int relu) {
    pooling_t pool = {height, width, pooled_h, pooled_w, kind, block_h, block_w};
    int cells = cells_in(pool);
    u64 row = blockIdx.x;
    channel_sums(partial, channels, cells, [=](int channel, int cell) {
        range_t ys, xs;
        cell_at(pool, cell, ys, xs);
        int active = 0;
        for (int y = ys.first; y < ys.end; y++) {
            const map_t* line = z + ((row * height + y) * width) * channels + channel;
            for (int x = xs.first; x < xs.end; x++) active += !relu || load(line + (u64)x * channels) > 0.0f;
        }
        return dp[(row * channels + channel) * cells + cell] * ((double)active * share_of(ys, xs));
    });
}

extern "C" __global__ void bias_gradient_maps(const map_t* da, double* partial, int rows, int area, int channels) {
    const map_t* row = da + (u64)blockIdx.x * area * channels;
    channel_sums(partial, channels, area, [=](int channel, int position) {
        return (double)load(row + (u64)position * channels + channel);
    });
}

extern "C" __global__ void sum_rows(const double* partial, float* out, int rows, int columns) {
    EACH(column, (u64)columns) {
        double sum = 0.0;
        for (int row = 0; row < rows; row++) sum += partial[(u64)row * columns + column];
        out[column] = (float)sum;
    }
}

// Each row over the root of the mean of its squares; a row that is all zero stays so.
extern "C" __global__ void normalise_rows(const map_t* z, map_t* out, int rows, int len) {
    const map_t* from = z + (u64)blockIdx.x * len;
    map_t* to = out + (u64)blockIdx.x * len;
    double square = block_sum((u64)len, [=](u64 i) { return (double)load(from + i) * (double)load(from + i); }) / len;
    float scale = (float)(1.0 / sqrt(square));
    bool silent = square == 0.0;
    for (int i = (int)threadIdx.x; i < len; i += (int)blockDim.x) store(to + i, silent ? 0.0f : load(from + i) * scale);
}

// The first half of the rows, then the mean of each of them and the one after it.
extern "C" __global__ void pair_anew(const map_t* z, map_t* out, int rows, int len) {
    u64 half = (u64)(rows / 2);
    EACH(i, (u64)rows * len) {
        u64 row = i;
        int at = take(row, len);
        if (row < half) {
            out[i] = z[i];
        } else {
            u64 own = row - half, other = (row - half + 1) % half;
            store(out + i, 0.5f * (load(z + own * len + at) + load(z + other * len + at)));
        }
    }
}

extern "C" __global__ void to_map(const float* x, map_t* out, unsigned long long n) {
    EACH(i, n) store(out + i, x[i]);
}

extern "C" __global__ void from_map(const map_t* x, float* out, unsigned long long n) {
    EACH(i, n) out[i] = load(x + i);
}

// [rows, channel, position] to [rows, position, channel].
extern "C" __global__ void frames_to_map(const float* x, map_t* out, int rows, int channels, int area) {
    EACH(i, (u64)rows * area * channels) {
        u64 row = i;
        int channel = take(row, channels);
        int position = take(row, area);
        store(out + i, x[(row * channels + channel) * area + position]);
    }
}

// [rows, position, channel] to [rows, channel, position].
extern "C" __global__ void map_to_frames(const map_t* maps, float* out, int rows, int channels, int area) {
    EACH(i, (u64)rows * channels * area) {
        u64 row = i;
        int position = take(row, area);
        int channel = take(row, channels);
        out[i] = load(maps + (row * area + position) * channels + channel);
    }
}
