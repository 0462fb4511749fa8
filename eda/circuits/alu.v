// Small arithmetic and logic unit with registered result and flags.
module alu #(parameter WIDTH = 8) (
    input clk,
    input [2:0] operation,
    input [WIDTH-1:0] a,
    input [WIDTH-1:0] b,
    output reg [WIDTH-1:0] result,
    output reg zero,
    output reg carry
);
    reg [WIDTH:0] value;
    always @* begin
        case (operation)
            3'd0: value = a + b;
            3'd1: value = a - b;
            3'd2: value = {1'b0, a & b};
            3'd3: value = {1'b0, a | b};
            3'd4: value = {1'b0, a ^ b};
            3'd5: value = {a, 1'b0};
            3'd6: value = {a[0], 1'b0, a[WIDTH-1:1]};
            default: value = {{WIDTH{1'b0}}, a < b};
        endcase
    end
    always @(posedge clk) begin
        result <= value[WIDTH-1:0];
        zero <= value[WIDTH-1:0] == 0;
        carry <= value[WIDTH];
    end
endmodule
