// What all kernels share: elements of maps, indices, sums in a fixed order, and the state of a training run.
//
// No sum hangs on how threads are scheduled or how many a block has: there are no atomics, and what a block adds up, it
// adds up in LANES partial sums, whatever its size.

typedef unsigned long long u64;

// The state of a training run on the device, so that a recorded step can be run again with other numbers.
struct control_t {
    u64 step;           // of the optimiser; counts from 1
    u64 place;          // of the batch in its epoch
    float lr;           // learning rate
    float correction1;  // 1 - beta1^step
    float correction2;  // sqrt(1 - beta2^step)
    int stopped;        // a loss was not finite: nothing is learnt any more
};

#ifdef MAP_BF16
struct map_t {
    unsigned short bits;
};

__device__ inline float from_bits(unsigned short bits) { return __uint_as_float((unsigned)bits << 16); }

__device__ inline unsigned short to_bits(float value) {
    unsigned bits = __float_as_uint(value);
    // The nearest, the even one of two; what is no number stays so.
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (unsigned short)((bits >> 16) | 0x40u);
    return (unsigned short)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

__device__ inline float load(const map_t* at) { return from_bits(at->bits); }
__device__ inline void store(map_t* at, float value) { at->bits = to_bits(value); }

// `V` neighbours, 1 or 4.
template <int V>
__device__ inline void load_some(const map_t* at, float* values) {
    if constexpr (V == 4) {
        ushort4 all = *(const ushort4*)at;
        values[0] = from_bits(all.x);
        values[1] = from_bits(all.y);
        values[2] = from_bits(all.z);
        values[3] = from_bits(all.w);
    } else {
        values[0] = load(at);
    }
}

template <int V>
__device__ inline void store_some(map_t* at, const float* values) {
    if constexpr (V == 4) {
        *(ushort4*)at = make_ushort4(to_bits(values[0]), to_bits(values[1]), to_bits(values[2]),
                                     to_bits(values[3]));
    } else {
        store(at, values[0]);
    }
}
#else
typedef float map_t;

__device__ inline float load(const map_t* at) { return *at; }
__device__ inline void store(map_t* at, float value) { *at = value; }

// `V` neighbours, 1 or 4.
template <int V>
__device__ inline void load_some(const map_t* at, float* values) {
    if constexpr (V == 4) {
        float4 all = *(const float4*)at;
        values[0] = all.x;
        values[1] = all.y;
        values[2] = all.z;
        values[3] = all.w;
    } else {
        values[0] = *at;
    }
}

template <int V>
__device__ inline void store_some(map_t* at, const float* values) {
    if constexpr (V == 4) {
        *(float4*)at = make_float4(values[0], values[1], values[2], values[3]);
    } else {
        *at = values[0];
    }
}
#endif

// Whether an address, or nothing, may be read four elements at a time.
__device__ inline bool by_four(const void* address) { return ((size_t)address & 15) == 0; }

// This thread's share of 0..count.
#define EACH(index, count)                                                                   \
    for (u64 index = (u64)blockIdx.x * blockDim.x + threadIdx.x, end_of_##index = (count);   \
         index < end_of_##index; index += (u64)gridDim.x * blockDim.x)

// Takes the last digit off an index: gives `index % by` and leaves `index / by`.
__device__ inline int take(u64& index, int by) {
    if (index >> 32) {
        int digit = (int)(index % (u64)by);
        index /= (u64)by;
        return digit;
    }
    // Division of 32 bits is several times faster.
    unsigned low = (unsigned)index;
    index = low / (unsigned)by;
    return (int)(low % (unsigned)by);
}

#define LANES 256

// Where the threads of a block leave their partial sums; two sums may be made at once.
__device__ inline double* lanes() {
    __shared__ double sums[2 * LANES];
    return sums;
}

// Adds up the lanes of one sum into the first, or of two. Every thread of the block must come here, and nobody may write
// a lane again before all have read the sums.
__device__ inline void add_lanes(int sums_at_once) {
    double* sums = lanes();
    __syncthreads();
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = (int)threadIdx.x; i < half * sums_at_once; i += (int)blockDim.x) {
            int lane = i / half * LANES + i % half;
            sums[lane] += sums[lane + half];
        }
        __syncthreads();
    }
}

struct pair_t {
    double first, second;
};

// The sum of `term(0)` to `term(count - 1)` over the block, for all threads. Every thread of the block must come here.
template <class Term>
__device__ inline double block_sum(u64 count, Term term) {
    double* sums = lanes();
    for (int lane = (int)threadIdx.x; lane < LANES; lane += (int)blockDim.x) {
        double sum = 0.0;
        for (u64 i = (u64)lane; i < count; i += LANES) sum += term(i);
        sums[lane] = sum;
    }
    add_lanes(1);
    double sum = sums[0];
    __syncthreads();
    return sum;
}

// As `block_sum`, of terms that are pairs.
template <class Term>
__device__ inline pair_t block_sum_pair(u64 count, Term term) {
    double* sums = lanes();
    for (int lane = (int)threadIdx.x; lane < LANES; lane += (int)blockDim.x) {
        pair_t sum = {0.0, 0.0};
        for (u64 i = (u64)lane; i < count; i += LANES) {
            pair_t one = term(i);
            sum.first += one.first;
            sum.second += one.second;
        }
        sums[lane] = sum.first;
        sums[LANES + lane] = sum.second;
    }
    add_lanes(2);
    pair_t sum = {sums[0], sums[LANES]};
    __syncthreads();
    return sum;
}

// Loss pooling (docs/paper.md 2.4) along one axis: `size` positions make `pooled` cells.
enum { BLOCK = 0, ADAPTIVE = 1, GLOBAL = 2 };

struct range_t {
    int first, end;
};

// The positions of a cell.
__device__ inline range_t positions_of(int cell, int size, int pooled, int kind, int block) {
    range_t range = {0, size};
    if (kind == BLOCK) {
        range.first = cell * block;
        range.end = range.first + block;
    } else if (kind == ADAPTIVE) {
        range.first = cell * size / pooled;
        range.end = ((cell + 1) * size + pooled - 1) / pooled;
    }
    return range;
}

// The cells that a position lies in: none, one, or several.
__device__ inline range_t cells_of(int position, int size, int pooled, int kind, int block) {
    range_t range = {0, 1};
    if (kind == BLOCK) {
        range.first = position / block;
        range.end = range.first < pooled ? range.first + 1 : range.first;
    } else if (kind == ADAPTIVE) {
        range.first = position * pooled / size;
        range.end = ((position + 1) * pooled + size - 1) / size;
    }
    return range;
}

// One layer's loss pooling.
struct pooling_t {
    int height, width, pooled_h, pooled_w, kind, block_h, block_w;
};

__device__ inline int cells_in(const pooling_t& pool) { return pool.pooled_h * pool.pooled_w; }

// Rows and columns of a cell.
__device__ inline void cell_at(const pooling_t& pool, int cell, range_t& ys, range_t& xs) {
    ys = positions_of(cell / pool.pooled_w, pool.height, pool.pooled_h, pool.kind, pool.block_h);
    xs = positions_of(cell % pool.pooled_w, pool.width, pool.pooled_w, pool.kind, pool.block_w);
}

__device__ inline int size_of(range_t ys, range_t xs) { return (ys.end - ys.first) * (xs.end - xs.first); }

// What each element of a cell counts in its mean.
__device__ inline double share_of(range_t ys, range_t xs) { return 1.0 / (double)size_of(ys, xs); }

// The same in single precision: the same bits as `share_of` rounded, for all cells of less than 2^24 elements.
__device__ inline float single_share_of(range_t ys, range_t xs) { return 1.0f / (float)size_of(ys, xs); }

// The row whose activity is the positive of a row: that of the image's other view, or itself. Its own inverse.
__device__ inline int partner_of(int row, int rows, int partner) { return partner == 0 ? (row + rows / 2) % rows : row; }
