// Array multiplier: one row of partial products added after the other.
module multiplier #(parameter WIDTH = 8) (
    input [WIDTH-1:0] a,
    input [WIDTH-1:0] b,
    output [2*WIDTH-1:0] product
);
    wire [2*WIDTH-1:0] partial [0:WIDTH];
    assign partial[0] = 0;
    genvar row;
    generate
        for (row = 0; row < WIDTH; row = row + 1) begin : rows
            assign partial[row+1] = partial[row] + ((b[row] ? {{WIDTH{1'b0}}, a} : 0) << row);
        end
    endgenerate
    assign product = partial[WIDTH];
endmodule
