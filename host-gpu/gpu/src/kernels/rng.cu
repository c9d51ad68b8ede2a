// Random numbers: the streams of rng.rs, to the bit. A stream's n-th number can be had without those before it (skip),
// so that many threads draw from one stream what one thread would have drawn.

// What a stream is for: the codes of rng.rs.
enum Purpose { FOR_NEGATIVES = 3, FOR_EITHER = 8, FOR_MASK = 9, FOR_VIEW = 0x100 };

// The 128 bits of a PCG-64 MCG.
struct stream_t {
    u64 high, low;
};

// Products that are rounded before anything is added to them, also where the compiler contracts the others: whether a
// value is cut off to the byte below hangs on the last bit.
__device__ inline float product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double product(double a, double b) { return __dmul_rn(a, b); }

// Upper 64 bits of the product, from products of halves: the same source on the device and in its emulation.
__device__ inline u64 upper_product(u64 a, u64 b) {
    u64 a_low = a & 0xffffffffull, a_high = a >> 32;
    u64 b_low = b & 0xffffffffull, b_high = b >> 32;
    u64 middle = a_high * b_low + ((a_low * b_low) >> 32);
    u64 other = a_low * b_high + (middle & 0xffffffffull);
    return a_high * b_high + (middle >> 32) + (other >> 32);
}

// a b modulo 2^128.
__device__ inline stream_t product(stream_t a, stream_t b) {
    return {upper_product(a.low, b.low) + a.high * b.low + a.low * b.high, a.low * b.low};
}

// The finaliser of SplitMix64 after one step of its counter.
__device__ inline u64 scramble(u64 x) {
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

__device__ inline stream_t make_stream(u64 seed, u64 purpose, u64 epoch, u64 index) {
    u64 hash = scramble(scramble(scramble(scramble(seed) ^ purpose) ^ epoch) ^ index);
    return {scramble(hash ^ 0x5851F42D4C957F2Dull), hash | 1};
}

__device__ inline stream_t multiplier() { return {0x2360ED051FC65DA4ull, 0x4385DF649FCCF645ull}; }

// Leaves out the next n numbers.
__device__ inline void skip(stream_t& stream, u64 n) {
    for (stream_t power = multiplier(); n != 0; n >>= 1, power = product(power, power)) {
        if (n & 1) stream = product(stream, power);
    }
}

// 64 random bits.
__device__ inline u64 bits(stream_t& stream) {
    stream = product(stream, multiplier());
    u64 word = stream.high ^ stream.low;
    unsigned int turn = (unsigned int)(stream.high >> 58);
    return (word >> turn) | (word << ((64 - turn) & 63));
}

// A multiple of 2^-24 in [0, 1).
__device__ inline float unit(stream_t& stream) {
    return (float)(unsigned int)(bits(stream) >> 40) * (1.0f / 16777216.0f);
}

// A multiple of 2^-53 in [0, 1).
__device__ inline double unit_f64(stream_t& stream) {
    return (double)(bits(stream) >> 11) * (1.0 / 9007199254740992.0);
}

__device__ inline float uniform(stream_t& stream, float low, float high) {
    return low + product(high - low, unit(stream));
}

__device__ inline bool chance(stream_t& stream, float p) { return unit(stream) < p; }

// The words that an even draw from 0..n refuses are those whose product has a lower half below this.
__device__ inline u64 refused_below(u64 n) { return (0 - n) % n; }

// An integer in 0..n (n > 0) from one word, all equally likely; false where the word is refused.
__device__ inline bool below_once(stream_t& stream, u64 n, u64 refused, u64& out) {
    u64 word = bits(stream);
    out = upper_product(word, n);
    return word * n >= refused;
}

__device__ inline u64 below(stream_t& stream, u64 n) {
    u64 out = 0, refused = refused_below(n);
    while (!below_once(stream, n, refused, out)) {
    }
    return out;
}
